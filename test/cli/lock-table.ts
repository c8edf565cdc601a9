import type { TestContext } from "node:test";
import { Client } from "pg";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { cleanup } from "../support/process.ts";
import { until } from "../support/until.ts";

/** Makes whoever reads a table wait. */
export async function lockTable(t: TestContext, database: DatabaseConnection, table: string) {
  const client = new Client(database);
  await client.connect();
  cleanup(t).defer(() => client.end());
  await client.query(`begin; lock table ${table} in access exclusive mode`);
  return {
    /** Waits until so many wait for it. */
    blocks: (count = 1) =>
      until("somebody waits for the table", async () => {
        // Databases that are copies of one another have the same numbers for their tables.
        const sql = `select from pg_locks where not granted and relation = '${table}'::regclass
          and database = (select oid from pg_database where datname = current_database())`;
        return (await client.query(sql)).rows.length >= count;
      }),
    release: () => client.query("rollback"),
  };
}
