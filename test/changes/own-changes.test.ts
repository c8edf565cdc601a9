import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { Client } from "pg";
import { CHANNEL, type Event, mutate, type Tag } from "../../src/changes/mutate.ts";
import { createOnce } from "../../src/changes/once.ts";
import { entities } from "../../src/entities.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { openStorage, type Storage } from "../../src/storage/open-storage.ts";
import { createSeal } from "../../src/storage/seal.ts";
import { createDatabase, query } from "../support/cluster.ts";
import { until } from "../support/until.ts";

const AUTHOR = { type: "operator", id: "test" } as const;
const EVENT: Event = { action: "test.change", targetId: "test", detail: {} };

let connection: DatabaseConnection;
let storage: Storage;
/** What this process was told of, and whether anybody else could see it then. */
let told: { readonly tags: readonly string[]; readonly isCommitted: Promise<boolean> }[];

before(async () => {
  connection = await createDatabase();
  storage = await openStorage({ connection, entities, onIdleError: () => {} });
  storage.commits.on("changed", (tags) => {
    const sql = "select from changes where tags = $1";
    const isCommitted = query(connection, sql, [tags]).then((rows) => rows.length > 0);
    told.push({ tags, isCommitted });
  });
});
after(() => storage.close());
beforeEach(() => {
  told = [];
});

const changed = (tags: readonly Tag[], within = storage) =>
  mutate(within, AUTHOR, async () => ({ result: "done", event: EVENT, tags }));

/** Has the database do something at the end of each transaction that changes something. */
async function atCommit(statement: string, work: () => Promise<void>): Promise<void> {
  await query(
    connection,
    `create function at_commit() returns trigger language plpgsql as $$ begin ${statement}; return null; end $$;
    create constraint trigger at_commit after insert on changes deferrable initially deferred
      for each row execute function at_commit()`,
  );
  try {
    await work();
  } finally {
    await query(connection, "drop trigger at_commit on changes; drop function at_commit");
  }
}

test("a change is told once it is committed, and before whoever made it is answered", async () => {
  const answered = changed(["key:1", "user:1"]).then(() => told.length);
  assert.equal(await answered, 1);
  assert.deepEqual(told[0]?.tags, ["key:1", "user:1"]);
  assert.equal(await told[0]?.isCommitted, true);
});

test("nothing is told of what is taken back, be it by the work, by a row or at the very end", async () => {
  const failing = mutate(storage, AUTHOR, async () => {
    throw new Error("changed my mind");
  });
  await assert.rejects(failing, /changed my mind/);
  await assert.rejects(changed(["key:2", "\0" as never]));
  await atCommit("raise exception 'refused'", async () => {
    await assert.rejects(changed(["key:3"]), /refused/);
  });
  assert.deepEqual(told, []);
});

test("where nobody knows whether it was committed, it is told", async () => {
  await atCommit("perform pg_terminate_backend(pg_backend_pid())", async () => {
    await assert.rejects(changed(["key:4"]));
  });
  assert.deepEqual(
    told.map(({ tags }) => tags),
    [["key:4"]],
  );
});

test("what is a part of a greater transaction is told at the end of that one, or never", async () => {
  const once = createOnce(storage, createSeal(Buffer.alloc(32)), Buffer.alloc(32));
  const call = (idempotencyKey: string) => ({
    callerId: randomUUID(),
    method: "test",
    idempotencyKey,
    request: Buffer.alloc(0),
    write: (answer: string) => Buffer.from(answer),
    read: (bytes: Uint8Array) => Buffer.from(bytes).toString(),
  });
  const work = async (within: Storage) => {
    await changed(["key:5"], within);
    await changed(["key:6"], within);
    assert.deepEqual(told, []);
    return "done";
  };
  await assert.rejects(
    once.run(call("fails"), async (within) => {
      await work(within);
      throw new Error("changed my mind");
    }),
    /changed my mind/,
  );
  assert.deepEqual(told, []);
  assert.equal(await once.run(call("works"), work), "done");
  assert.deepEqual(
    told.map(({ tags }) => tags),
    [["key:5", "key:6"]],
  );
});

test("a change within a transaction of which nobody would be told is refused", async () => {
  const unheard = storage
    .fork()
    .transactional(async (em) => await changed(["key:7"], { ...storage, fork: () => em }));
  await assert.rejects(unheard, /no unit of work/);
  assert.deepEqual(await query(connection, "select from changes where tags = '{key:7}'"), []);
});

test("what answers depend on is announced to whoever listens, and nothing else is", async () => {
  const client = new Client(connection);
  await client.connect();
  try {
    const heard: string[] = [];
    client.on("notification", ({ channel }) => heard.push(channel));
    await client.query(`listen ${CHANNEL}`);
    await changed([]);
    assert.deepEqual(told, []);
    await changed(["key:8"]);
    await until("it is announced", () => heard.length > 0);
    await client.query("select 1");
    assert.deepEqual(heard, [CHANNEL]);
  } finally {
    await client.end();
  }
});
