import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { Client } from "pg";
import { pruneChanges } from "../../src/changes/prune-changes.ts";
import { entities } from "../../src/entities.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { LOCKS } from "../../src/storage/locks.ts";
import { openStorage, type Storage } from "../../src/storage/open-storage.ts";
import { createDatabase, query } from "../support/cluster.ts";
import { asked, change, startListening } from "./listening.ts";

let connection: DatabaseConnection;
let storage: Storage;
before(async () => {
  connection = await createDatabase();
  storage = await openStorage({ connection, entities, onIdleError: () => {} });
});
after(() => storage.close());
beforeEach(() => query(connection, "delete from changes"));

const age = (interval: string) =>
  query(connection, `update changes set change_time = now() - interval '${interval}'`);
const left = async () =>
  (await query<{ tag: string }>(connection, "select unnest(tags) as tag from changes order by xid")).map(
    ({ tag }) => tag,
  );
const horizon = async () =>
  (await query<{ xid: string }>(connection, "select pruned_xid::text as xid from change_horizon"))[0]?.xid;

test("changes of more than an hour ago are deleted, and the horizon says up to where; later ones stay", async () => {
  for (let at = 0; at < 3; at++) {
    await change(connection, `key:old ${at}`);
  }
  await age("61 minutes");
  const [newest] = await query<{ xid: string }>(
    connection,
    "select max(xid::text::bigint)::text as xid from changes",
  );
  await change(connection, "key:young");
  assert.equal(await pruneChanges(storage), 3);
  assert.deepEqual(await left(), ["key:young"]);
  assert.equal(await horizon(), newest?.xid);
  assert.equal(await pruneChanges(storage), 0);
  assert.equal(await horizon(), newest?.xid);
});

test("more of them than fit into one statement are deleted too", async () => {
  await query(
    connection,
    `insert into changes (tags, xid)
    select '{key:many}', xid::text::xid8 from generate_series(3, 502) xid, generate_series(1, 5)`,
  );
  await age("2 hours");
  assert.equal(await pruneChanges(storage), 2500);
});

test("nothing is deleted that a transaction in progress may come before", async () => {
  const client = new Client(connection);
  await client.connect();
  try {
    await client.query("begin");
    await client.query("insert into changes (tags) values ('{key:long}')");
    await change(connection, "key:after it");
    await age("2 hours");
    assert.equal(await pruneChanges(storage), 0);
    await client.query("commit");
    await age("2 hours");
    assert.equal(await pruneChanges(storage), 2);
  } finally {
    await client.end();
  }
});

test("one replica at a time does it", async () => {
  await change(connection, "key:old");
  await age("2 hours");
  const client = new Client(connection);
  await client.connect();
  try {
    await client.query("select pg_advisory_lock($1)", [LOCKS.pruneChanges]);
    assert.equal(await pruneChanges(storage), 0);
  } finally {
    await client.end();
  }
  assert.deepEqual(await left(), ["key:old"]);
});

test("whoever has heard of all that is deleted goes on", async () => {
  await using stack = new AsyncDisposableStack();
  const listening = await startListening(stack, connection);
  const { heard } = listening;
  await change(connection, "key:heard");
  await age("2 hours");
  await asked(listening, connection);
  assert.equal(await pruneChanges(storage), 1);
  await asked(listening, connection);
  assert.deepEqual(heard, ["key:heard"]);
});
