import assert from "node:assert/strict";
import { before, test } from "node:test";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { DatabaseUnusable, type DeploymentMode, migrate } from "../../src/storage/migrate.ts";
import { createDatabase, query } from "../support/cluster.ts";

let migrated: DatabaseConnection;
before(async () => {
  migrated = await createDatabase();
});

const inParallel = <Value>(count: number, make: (turn: number) => Promise<Value>) =>
  Promise.allSettled(Array.from({ length: count }, (_, turn) => make(turn)));

test("migrations are safe to run at once: one process runs them, the others wait and find them done", async () => {
  const connection = await createDatabase("empty");
  const outcomes = await inParallel(8, () => migrate(connection, "production"));
  const ran = outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : outcome.reason));
  assert.deepEqual(ran.filter((names) => names.length > 0).length, 1, String(ran));
  assert.deepEqual(ran.filter((names) => names.length === 0).length, 7, String(ran));
  assert.deepEqual(await schemaOf(connection), await schemaOf(migrated));
});

test("a database that is up to date is left alone", async () => {
  const before = await schemaOf(migrated);
  assert.deepEqual(await migrate(migrated, "production"), []);
  assert.deepEqual(await schemaOf(migrated), before);
});

test("development and production never share a database, also where both come first", async () => {
  for (const first of ["development", "production"] as const) {
    const connection = await createDatabase("empty");
    const modes: DeploymentMode[] = [first, ...(["development", "production"] as const), first];
    const outcomes = await Promise.allSettled(modes.map((mode) => migrate(connection, mode)));
    const [row] = await query<{ mode: DeploymentMode }>(connection, "select mode from latchkey_deployment");
    for (const [at, outcome] of outcomes.entries()) {
      assert.equal(outcome.status === "fulfilled", modes[at] === row?.mode);
      if (outcome.status === "rejected") {
        assert.ok(outcome.reason instanceof DatabaseUnusable, String(outcome.reason));
      }
    }
    assert.deepEqual(await query(connection, "select count(*)::int as count from latchkey_deployment"), [
      { count: 1 },
    ]);
  }
});

test("a database that holds somebody else's tables is not touched", async () => {
  const connection = await createDatabase("empty");
  await query(connection, "create table invoices (id int)");
  await assert.rejects(migrate(connection, "production"), DatabaseUnusable);
  assert.deepEqual(await query(connection, "select tablename from pg_tables where schemaname = 'public'"), [
    { tablename: "invoices" },
  ]);
});

test("a database that cannot be reached is told by what is wrong, without its password", async () => {
  const connection = { host: "127.0.0.1", port: 1, user: "u", password: "canary-password", database: "d" };
  await assert.rejects(migrate(connection, "production"), (error) => {
    assert.ok(error instanceof DatabaseUnusable);
    assert.match(error.message, /ECONNREFUSED/);
    assert.ok(!error.message.includes("canary-password"));
    return true;
  });
});

test("a migration that is cut off leaves nothing, and the next run does it all", async () => {
  const connection = await createDatabase("empty");
  // Refuses the last statement of the first migration.
  await query(
    connection,
    `create function refuse() returns event_trigger language plpgsql as $$
     begin
       if exists (select from pg_event_trigger_ddl_commands() where object_identity = 'public.changes') then
         raise exception 'cut off';
       end if;
     end $$;
     create event trigger refuse on ddl_command_end when tag in ('CREATE TABLE') execute function refuse()`,
  );
  await assert.rejects(migrate(connection, "production"), /cut off/);
  const tables = await query<{ tablename: string }>(
    connection,
    "select tablename from pg_tables where schemaname = 'public' and tablename <> 'latchkey_migrations'",
  );
  assert.deepEqual(tables, []);
  await query(connection, "drop event trigger refuse; drop function refuse()");
  assert.notDeepEqual(await migrate(connection, "production"), []);
  assert.deepEqual(await schemaOf(connection), await schemaOf(migrated));
});

test("a row of one organization cannot refer to a row of another: foreign keys say which one", async () => {
  const keys = await query<{ key: string; with_organization: boolean }>(
    migrated,
    `select format('%s to %s', c.conrelid::regclass, c.confrelid::regclass) as key,
       exists (
         select from unnest(c.conkey, c.confkey) as pair (here, there)
         join pg_attribute a on a.attrelid = c.conrelid and a.attnum = pair.here
         join pg_attribute b on b.attrelid = c.confrelid and b.attnum = pair.there
         where a.attname = 'organization_id' and b.attname = 'organization_id') as with_organization
     from pg_constraint c
     where c.contype = 'f' and exists (
       select from pg_attribute where attrelid = c.confrelid and attname = 'organization_id')`,
  );
  assert.ok(keys.length > 0);
  assert.deepEqual(
    keys.filter((key) => !key.with_organization),
    [],
  );
});

/** What there is: columns, constraints and indexes, and the catalogue of permissions. */
async function schemaOf(connection: DatabaseConnection): Promise<unknown> {
  return {
    columns: await query(
      connection,
      `select table_name, column_name, data_type, is_nullable, column_default
       from information_schema.columns where table_schema = 'public' order by 1, 2`,
    ),
    constraints: await query(
      connection,
      `select conrelid::regclass::text as table_name, conname, pg_get_constraintdef(oid) as definition
       from pg_constraint where connamespace = 'public'::regnamespace order by 1, 2`,
    ),
    indexes: await query(
      connection,
      "select indexdef from pg_indexes where schemaname = 'public' order by 1",
    ),
    permissions: await query(connection, "select * from permissions order by name"),
    migrations: await query(connection, "select name from latchkey_migrations order by id"),
  };
}
