import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { UniqueConstraintViolationException } from "@mikro-orm/core";
import { Client, DatabaseError } from "pg";
import { v4 as uuidv4 } from "uuid";
import { entities } from "../../src/entities.ts";
import { insertOrganization } from "../../src/organizations/create-organization.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { openStorage, type Storage } from "../../src/storage/open-storage.ts";
import { isStorageFault, violates } from "../../src/storage/storage-error.ts";
import { createDatabase, query } from "../support/cluster.ts";

// As far as possible these are what the driver, the ORM and the server really throw.

let connection: DatabaseConnection;
let storage: Storage;
before(async () => {
  connection = await createDatabase();
  storage = await openStorage({ connection, entities, onIdleError: () => {} });
});
after(() => storage.close());

async function thrownBy(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  assert.fail("nothing was thrown");
}

/** By the verify path and by the ORM. */
const ways: readonly (readonly [string, (sql: string) => Promise<unknown>])[] = [
  ["the verify path", (sql) => storage.verify(uuidv4(), sql, [])],
  ["the ORM", (sql) => storage.fork().execute(sql)],
  ["a transaction of the ORM", (sql) => storage.fork().transactional((em) => em.execute(sql))],
];

const fault = (state: string) => `do $$ begin raise exception 'x' using errcode = '${state}'; end $$`;

test("the database's own state is a fault that may pass, by whichever way it is met", async () => {
  const states = [
    "08006", // connection failure
    "53100", // disk full
    "53200", // out of memory
    "53300", // too many connections
    "57014", // statement timeout
    "57P01", // shut down by an administrator
    "57P03", // starting up
    "58030", // I/O error
    "25006", // a standby
    "40001", // serialization
    "40P01", // deadlock
    "55P03", // lock not available
  ];
  for (const [way, run] of ways) {
    for (const state of states) {
      assert.equal(isStorageFault(await thrownBy(() => run(fault(state)))), true, `${state} by ${way}`);
    }
  }
});

test("a fault of our statement is none that passes, by whichever way it is met", async () => {
  const statements = [
    "select * from no_such_table",
    "select no_such_column from users",
    "selec",
    "select 1 / 0",
    "select 'x'::uuid",
    fault("23505"),
    fault("42501"),
    fault("P0001"),
    fault("XX000"),
  ];
  for (const [way, run] of ways) {
    for (const statement of statements) {
      assert.equal(isStorageFault(await thrownBy(() => run(statement))), false, `${statement} by ${way}`);
    }
  }
});

test("a connection that the server ends is a fault that may pass, by whichever way it is met", async () => {
  for (const [way, run] of ways) {
    const marker = uuidv4();
    const running = thrownBy(() => run(`select pg_sleep(60) -- ${marker}`));
    let ended = 0;
    while (ended === 0) {
      const rows = await query(
        connection,
        `select pg_terminate_backend(pid) from pg_stat_activity
         where query like '%' || $1 and state = 'active' and pid <> pg_backend_pid()`,
        [marker],
      );
      ended = rows.length;
    }
    assert.equal(isStorageFault(await running), true, way);
  }
});

test("a statement that takes too long is a fault that may pass", async () => {
  const impatient = new Client({ ...connection, statement_timeout: 1 });
  await impatient.connect();
  assert.equal(isStorageFault(await thrownBy(() => impatient.query("select pg_sleep(60)"))), true);
  await impatient.end();
  const unanswered = new Client({ ...connection, query_timeout: 1 });
  await unanswered.connect();
  assert.equal(isStorageFault(await thrownBy(() => unanswered.query("select pg_sleep(1)"))), true);
  await unanswered.end();
});

test("a server that is not there is a fault that may pass", async () => {
  const nowhere: DatabaseConnection[] = [
    { host: "127.0.0.1", port: 1, user: "u", database: "d" },
    { host: "/nowhere", user: "u", database: "d" },
    { host: "nowhere.invalid", user: "u", database: "d" },
  ];
  for (const connection of nowhere) {
    const away = await openStorage({ connection, entities, onIdleError: () => {} });
    for (const run of [() => away.ping(), () => away.fork().execute("select 1")]) {
      const error = await thrownBy(run);
      assert.equal(isStorageFault(error), true, `${connection.host}: ${error}`);
    }
    await away.close();
  }
});

test("a storage that was closed is a fault that may pass", async () => {
  const closed = await openStorage({ connection, entities, onIdleError: () => {} });
  await closed.close();
  assert.equal(isStorageFault(await thrownBy(() => closed.ping())), true);
});

test("what is no error of the database is never taken for one", () => {
  const loop = new Error("loop");
  loop.cause = loop;
  for (const thrown of [
    undefined,
    null,
    "57P01",
    { code: "57P01" },
    new Error("57P01"),
    new TypeError("x"),
    loop,
  ]) {
    assert.equal(isStorageFault(thrown), false, String(thrown));
    assert.equal(violates(thrown, "x"), false);
  }
});

test("the constraint that refused a row is told by its name, and by no other", async () => {
  const name = `org ${uuidv4()}`;
  const insert = () => storage.fork().transactional((em) => insertOrganization(em, name));
  await insert();
  const error = await thrownBy(insert);
  assert.ok(error instanceof UniqueConstraintViolationException);
  assert.equal(violates(error, "organizations_name_key_unique"), true);
  assert.equal(violates(error, "organizations_pkey"), false);
  assert.equal(violates(error, ""), false);
  assert.equal(isStorageFault(error), false);
});

test("causes are looked through", () => {
  const inner = Object.assign(new DatabaseError("x", 1, "error"), { code: "57P01", constraint: "c" });
  let error: Error = inner;
  for (let depth = 0; depth < 5; depth++) {
    error = new Error("wrapped", { cause: error });
  }
  assert.equal(isStorageFault(error), true);
  assert.equal(violates(error, "c"), true);
});
