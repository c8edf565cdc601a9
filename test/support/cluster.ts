import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { v4 as uuidv4 } from "uuid";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/storage/embedded-postgres.ts";
import { migrate } from "../../src/storage/migrate.ts";
import { forgetAll } from "./replicas.ts";

/** Where a test process finds the cluster that the run has started. */
const VARIABLE = "TEST_POSTGRES_SOCKET";
const TEMPLATE = "latchkey_template";

let cluster: EmbeddedPostgres | undefined;

/** Starts the run's PostgreSQL, with a migrated database to copy. @returns its folder. */
export async function prepareCluster(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "latchkey-test-"));
  cluster = await startEmbeddedPostgres({ directory: folder, fsync: false });
  process.env[VARIABLE] = cluster.connection.host;
  await administer(`create database ${TEMPLATE}`);
  await migrate(connectionTo(TEMPLATE), "production");
  return folder;
}

export async function stopCluster(): Promise<void> {
  await cluster?.stop();
}

/** A database of the test's own: migrated, or empty. It goes with the cluster. */
export async function createDatabase(
  content: "migrated" | "empty" = "migrated",
): Promise<DatabaseConnection> {
  const name = `test_${uuidv4().replaceAll("-", "")}`;
  const template = content === "migrated" ? TEMPLATE : "template0";
  await administer(`create database ${name} template ${template} strategy file_copy`);
  return connectionTo(name);
}

/** The same as a URL, for processes. */
export function urlOf({ database }: DatabaseConnection): string {
  return `postgres://postgres@/${database}?host=${encodeURIComponent(socketFolder())}`;
}

/** Runs one statement on a database, past Latchkey. */
export async function query<Row extends object>(
  connection: DatabaseConnection,
  sql: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new Client(connection);
  await client.connect();
  try {
    const { rows } = await client.query<Row & Record<string, unknown>>(sql, values);
    if (!/^\s*(select|show)\b/i.test(sql)) {
      forgetAll(connection.database);
    }
    return rows;
  } finally {
    await client.end();
  }
}

function connectionTo(database: string): DatabaseConnection {
  return { host: socketFolder(), user: "postgres", database };
}

async function administer(sql: string): Promise<void> {
  await query(connectionTo("postgres"), sql);
}

function socketFolder(): string {
  const folder = process.env[VARIABLE];
  if (folder === undefined) {
    throw new Error("run all tests with `npm test`, or one file with `npm run test:file -- test/….test.ts`");
  }
  return folder;
}
