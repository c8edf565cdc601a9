import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { entities } from "../../src/entities.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { openStorage, type Storage } from "../../src/storage/open-storage.ts";
import { isStorageFault } from "../../src/storage/storage-error.ts";
import { createDatabase, query } from "../support/cluster.ts";

let connection: DatabaseConnection;
let storage: Storage;
before(async () => {
  connection = await createDatabase();
  storage = await openStorage({ connection, entities, onIdleError: () => {} });
});
after(() => storage.close());

type Run = (sql: string) => Promise<Record<string, unknown> | undefined>;

const ways: readonly (readonly [string, Run])[] = [
  ["the verify path", async (sql) => await storage.verify(uuidv4(), sql, [])],
  ["the ORM", async (sql) => (await storage.fork().execute(sql))[0]],
  [
    "a transaction",
    async (sql) => await storage.fork().transactional(async (em) => (await em.execute(sql))[0]),
  ],
];

const PID = "select pg_backend_pid() as pid";

for (const [way, run] of ways) {
  test(`a connection that turned out to lead to a standby is not used again (${way})`, async () => {
    const before = await run(PID);
    assert.deepEqual(await run(PID), before, "the connection is kept while it is good");
    await assert.rejects(run("do $$ begin raise exception 'x' using errcode = '25006'; end $$"));
    assert.notDeepEqual(await run(PID), before);
  });

  test(`after the server has ended the connections, the next call works (${way})`, async () => {
    await assert.rejects(run("select pg_terminate_backend(pg_backend_pid())"));
    await run("select 1");
  });
}

test("verification has connections of its own: calls that manage cannot starve it", async () => {
  const end = Promise.withResolvers<void>();
  const hold = async () => {
    const held = Promise.withResolvers<void>();
    const transaction = storage.fork().transactional(async (em) => {
      await em.execute("select 1");
      held.resolve();
      await end.promise;
    });
    await Promise.race([held.promise, transaction]);
    return { transaction };
  };
  // Until there is no connection left: whoever asks for one more waits for it in vain.
  const holding: Promise<void>[] = [];
  try {
    while (holding.length < 100) {
      holding.push((await hold()).transaction);
    }
    assert.fail("the connections have no end");
  } catch (error) {
    assert.match(String(error), /timeout exceeded when trying to connect/);
    assert.deepEqual(await storage.verify("alone", "select 1 as one", []), { one: 1 });
  } finally {
    end.resolve();
    await Promise.all(holding);
  }
});

test("a unit of work sees nothing of another", () => {
  assert.notEqual(storage.fork(), storage.fork());
  assert.notEqual(storage.fork().getUnitOfWork(), storage.fork().getUnitOfWork());
});

test("a connection that breaks while idle ends nothing", async () => {
  await storage.verify("warm", "select 1", []);
  await query(
    connection,
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'latchkey verify' and pid <> pg_backend_pid()",
  );
  // The first may still be handed the broken one; none after it.
  await storage.ping().catch(() => {});
  await storage.ping();
  assert.deepEqual(await storage.verify("warm again", "select 1 as one", []), { one: 1 });
});

test("values are passed beside the statement, never in it", async () => {
  const value = "'; drop table users; --";
  assert.deepEqual(await storage.verify("echo", "select $1::text as value", [value]), { value });
});

test("where there is no row, none is made up", async () => {
  assert.equal(await storage.verify("none", "select 1 where false", []), undefined);
});

test("verification reads from no standby: what is refused is for a server that may be behind", async () => {
  const standby = await createDatabase();
  await query(
    standby,
    `create function public.pg_is_in_recovery() returns boolean language sql as 'select true';
    alter database ${standby.database} set search_path = public, pg_catalog`,
  );
  const reader = await openStorage({ connection: standby, entities, onIdleError: () => {} });
  try {
    const read = () => reader.verify("one", "select 1 as one", []);
    await assert.rejects(read(), isStorageFault);
    await assert.rejects(reader.ping(), isStorageFault);
    await query(standby, "drop function public.pg_is_in_recovery()");
    assert.deepEqual(await read(), { one: 1 });
  } finally {
    await reader.close();
  }
});
