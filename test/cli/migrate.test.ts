import assert from "node:assert/strict";
import { before, describe, it, type TestContext } from "node:test";
import { Client } from "pg";
import { v4 as uuidv4 } from "uuid";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { createDatabase, query, urlOf } from "../support/cluster.ts";
import { cleanup, latchkey, type Running, refusal, refusals } from "../support/process.ts";
import { until } from "../support/until.ts";

describe("latchkey migrate", { concurrency: 3 }, () => {
  let expected: string[];
  before(async () => {
    expected = await tablesOf(await createDatabase("migrated"));
  });

  it("brings an empty database up to date, and finds nothing to do the second time", async (t) => {
    const database = await createDatabase("empty");
    const first = migrate(t, database);
    assert.deepEqual(await first.ended(), { code: 0, signal: null }, first.stderr);
    assert.match(first.stdout, /^migrated: 0001-initial(, [\w-]+)*\n$/);
    assert.deepEqual(await tablesOf(database), expected);

    const second = migrate(t, database);
    assert.deepEqual(await second.ended(), { code: 0, signal: null }, second.stderr);
    assert.equal(second.stdout, "the schema is up to date\n");
    await isProduction(database);
  });

  it("of eight processes at once, one migrates and each ends well", async (t) => {
    const database = await createDatabase("empty");
    const all = Array.from({ length: 8 }, () => migrate(t, database));
    for (const one of all) {
      assert.deepEqual(await one.ended(), { code: 0, signal: null }, one.stderr);
    }
    const said = all.map(({ stdout }) => stdout).sort();
    assert.match(said.shift() ?? "", /^migrated: /);
    assert.deepEqual(new Set(said), new Set(["the schema is up to date\n"]));
    assert.deepEqual(await tablesOf(database), expected);
    await isProduction(database);
  });

  it("is completed by the next one, at whatever moments those before were killed", async (t) => {
    const database = await createDatabase("empty");
    const seen = await watch(t, database);
    // From the first connection to the end, by what can be seen of it from outside.
    const moments: (() => Promise<boolean>)[] = [
      async () => (await seen(CONNECTED)) === 1,
      async () => (await seen(LOCKED)) === 1,
      async () => (await seen(CONNECTED)) === 2,
      async () => (await seen("pg_class where relname = 'latchkey_migrations'")) === 1,
      async () => (await seen("pg_class where relname = 'latchkey_deployment'")) === 1,
    ];
    for (const [index, isNow] of moments.entries()) {
      const killed = migrate(t, database);
      await until(`moment ${index} has come`, async () => !killed.isAlive || (await isNow()));
      killed.kill("SIGKILL");
      await killed.ended();
      await until("the server has noticed", async () => (await seen(CONNECTED)) === 0);
    }
    const next = migrate(t, database);
    assert.deepEqual(await next.ended(), { code: 0, signal: null }, next.stderr);
    assert.deepEqual(await tablesOf(database), expected);
    await isProduction(database);
  });

  it("is completed by the next one where it was killed in the middle of a migration", async (t) => {
    const database = await createDatabase("empty");
    // A table that is made late in the first migration waits for a lock of ours.
    await query(
      database,
      `create function wait() returns event_trigger language plpgsql as $$ begin
         if exists (select from pg_event_trigger_ddl_commands() where object_identity = 'public.sessions') then
           perform pg_advisory_xact_lock(1);
         end if;
       end $$;
       create event trigger wait on ddl_command_end when tag in ('CREATE TABLE') execute function wait();`,
    );
    const holder = new Client({ ...database, application_name: "test" });
    await holder.connect();
    cleanup(t).defer(() => holder.end());
    await holder.query("select pg_advisory_lock(1)");

    const seen = await watch(t, database);
    const killed = migrate(t, database);
    await until("it waits in the middle", async () => (await seen(`${WAITING} and objid = 1`)) === 1);
    killed.kill("SIGKILL");
    await killed.ended();
    // The backend of the killed process does not know yet, and has half of a schema.
    const next = migrate(t, database);
    await until("the next one waits for it", async () => (await seen(BLOCKED)) === 2 || !next.isAlive);
    await holder.query("select pg_advisory_unlock(1)");
    assert.deepEqual(await next.ended(), { code: 0, signal: null }, next.stderr);
    assert.match(next.stdout, /^migrated: /);
    assert.deepEqual(await tablesOf(database), expected);
  });

  describe("refuses in one clear line, and leaves untouched,", { concurrency: 3 }, () => {
    const foreign = {
      "a database that holds other tables":
        "create table diary (entry text); insert into diary values ('kept')",
      "a database with somebody else's table `deployment`":
        "create table deployment (id int, name text); insert into deployment values (1, 'theirs')",
      "a database with somebody else's table `deployment` that looks like ours":
        "create table deployment (mode text); insert into deployment values ('production')",
      "a database with somebody else's table `migrations`":
        'create table migrations (id int primary key, "timestamp" bigint not null, name text not null)',
    };
    for (const [what, sql] of Object.entries(foreign)) {
      it(what, async (t) => {
        const database = await createDatabase("empty");
        await query(database, sql);
        const tables = await tablesOf(database);
        assert.match(
          await refusal(migrate(t, database)),
          /the database holds tables that are not Latchkey's/,
        );
        assert.deepEqual(await tablesOf(database), tables);
      });
    }

    it("a database in which it may not make tables", async (t) => {
      const database = await createDatabase("empty");
      const role = `test_${uuidv4().replaceAll("-", "")}`;
      // Since PostgreSQL 15 only the owner of a database may, unless told otherwise.
      await query(database, `create role ${role} login`);
      cleanup(t).defer(async () => void (await query(database, `drop role ${role}`)));
      assert.match(await refusal(migrate(t, database, role)), /permission denied for schema public/);
      assert.deepEqual(await tablesOf(database), []);
    });

    it("a database that can only be read, such as that of a standby", async (t) => {
      const database = await createDatabase("empty");
      await query(database, `alter database ${database.database} set default_transaction_read_only = on`);
      assert.match(await refusal(migrate(t, database)), /read-only/);
      assert.deepEqual(await tablesOf(database), []);
    });

    it("a database that does not exist", async (t) => {
      const missing = { ...(await createDatabase("empty")), database: "no_such_database" };
      assert.match(await refusal(migrate(t, missing)), /cannot connect.*"no_such_database" does not exist/);
    });
  });

  it("says all that is wrong with its settings at once", async (t) => {
    const command = latchkey(cleanup(t), ["migrate"], {
      env: { LATCHKEY_DATABASE_URL: "postgres://h/d", LATCHKEY_LOG_LEVEL: "loud" },
    });
    const lines = await refusals(command);
    assert.deepEqual(lines.map((line) => line.split(" ", 1)[0]).sort(), [
      "DATABASE_URL",
      "LATCHKEY_DATABASE_URL",
      "LATCHKEY_LOG_LEVEL",
    ]);
  });
});

const OURS = "datname = current_database() and pid <> pg_backend_pid() and application_name <> 'test'";
const CONNECTED = `pg_stat_activity where ${OURS}`;
const BLOCKED = `${CONNECTED} and wait_event_type = 'Lock'`;
const ADVISORY =
  "pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
const LOCKED = `${ADVISORY} and granted`;
const WAITING = `${ADVISORY} and not granted`;

/** Tells how many rows there are of something, over a connection that stays open. */
async function watch(
  t: TestContext,
  database: DatabaseConnection,
): Promise<(what: string) => Promise<number>> {
  const client = new Client({ ...database, application_name: "test" });
  await client.connect();
  cleanup(t).defer(() => client.end());
  return async (what) => (await client.query(`select from ${what}`)).rows.length;
}

function migrate(t: TestContext, database: DatabaseConnection, user = "postgres"): Running {
  const url = urlOf(database).replace("postgres@", `${user}@`);
  return latchkey(cleanup(t), ["migrate"], { env: { DATABASE_URL: url } });
}

async function tablesOf(database: DatabaseConnection): Promise<string[]> {
  const rows = await query<{ name: string }>(
    database,
    `select schemaname || '.' || tablename as name from pg_tables
     where schemaname !~ '^pg_|^information_schema' order by 1`,
  );
  return rows.map(({ name }) => name);
}

async function isProduction(database: DatabaseConnection): Promise<void> {
  assert.deepEqual(await query(database, "select mode from latchkey_deployment"), [{ mode: "production" }]);
}
