import assert from "node:assert/strict";
import { before, test } from "node:test";
import { MikroORM, PostgreSqlDriver } from "@mikro-orm/postgresql";
import { entities } from "../../src/entities.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { createDatabase, query } from "../support/cluster.ts";

// Migrations are written by hand, entities too: nothing but this keeps them together. What only migrations
// know (foreign keys of two columns, checks, partial indexes) is more than the entities ask for.

/** What the service reads and writes past the ORM. */
const WITHOUT_ENTITY = [
  "audit_checkpoints",
  "audit_due_checkpoints",
  "audit_erasures",
  "audit_events",
  "audit_keys",
  "audit_personal_data",
  "audit_seals",
  "audit_unsealed",
  "change_horizon",
  "changes",
  "idempotency_keys",
  "imported_key_formats",
  "imported_key_hashes",
  "key_rate_windows",
  "key_usage",
  "latchkey_deployment",
  "latchkey_migrations",
  "login_counters",
  "login_sources",
  "rate_limit_replicas",
  "refresh_tokens",
];

let migrated: DatabaseConnection;
let fromEntities: DatabaseConnection;

before(async () => {
  migrated = await createDatabase();
  fromEntities = await createDatabase("empty");
  await withOrm(fromEntities, async (orm) => await orm.schema.create());
});

const openOrm = (connection: DatabaseConnection) =>
  MikroORM.init({
    driver: PostgreSqlDriver,
    dbName: connection.database,
    driverOptions: connection,
    entities: [...entities],
    logger: () => {},
  });

async function withOrm<Result>(
  connection: DatabaseConnection,
  work: (orm: Awaited<ReturnType<typeof openOrm>>) => Promise<Result>,
): Promise<Result> {
  const orm = await openOrm(connection);
  try {
    return await work(orm);
  } finally {
    await orm.close(true);
  }
}

test("every column is what its entity says: name, type, nullability and default", async () => {
  const columns = (connection: DatabaseConnection) =>
    query(
      connection,
      `select table_name, column_name, format_type(a.atttypid, a.atttypmod) as type, is_nullable,
         column_default, is_identity, is_generated
       from information_schema.columns
       join pg_attribute a on a.attrelid = table_name::regclass and a.attname = column_name
       where table_schema = 'public' and table_name <> all($1) order by 1, 2`,
      [WITHOUT_ENTITY],
    );
  assert.deepEqual(await columns(migrated), await columns(fromEntities));
});

test("every key and unique constraint that an entity declares exists, by the name that code refers to", async () => {
  const constraints = (connection: DatabaseConnection) =>
    query<{ definition: string }>(
      connection,
      `select format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) as definition
       from pg_constraint where connamespace = 'public'::regnamespace and contype in ('p', 'u') order by 1`,
    );
  const existing = new Set((await constraints(migrated)).map(({ definition }) => definition));
  const declared = (await constraints(fromEntities)).map(({ definition }) => definition);
  assert.ok(declared.length >= entities.length);
  assert.deepEqual(
    declared.filter((definition) => !existing.has(definition)),
    [],
  );
});

test("every table has an entity but those that are used past the ORM", async () => {
  const tables = async (connection: DatabaseConnection) =>
    (
      await query<{ tablename: string }>(
        connection,
        "select tablename from pg_tables where schemaname = 'public' order by 1",
      )
    ).map(({ tablename }) => tablename);
  const mapped = await tables(fromEntities);
  assert.deepEqual(
    (await tables(migrated)).filter((table) => !mapped.includes(table)),
    WITHOUT_ENTITY,
  );
});

test("the ORM has nothing to add or to change in a migrated database", async () => {
  const sql = await withOrm(migrated, (orm) => orm.schema.getUpdateSchemaSQL({ wrap: false }));
  const statements = sql.split(";\n").map((statement) => statement.trim());
  const changes = statements.filter(
    (statement) =>
      statement !== "" &&
      !/^(drop (table|index|trigger|function)|alter table "\w+" drop constraint) /.test(statement),
  );
  assert.deepEqual(changes, []);
});
