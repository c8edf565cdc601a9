import { Client } from "pg";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { query } from "../support/cluster.ts";
import { until } from "../support/until.ts";

/** Rows that somebody else has locked, so that calls about them meet each other. */
export interface HeldRows extends AsyncDisposable {
  /** Waits until so many transactions wait for a lock. */
  waiting(count: number): Promise<void>;
  release(): Promise<void>;
}

/** @param sql selects the rows, such as `select from api_keys where id = $1 for update`. */
export async function holdRows(
  connection: DatabaseConnection,
  sql: string,
  values: readonly unknown[],
): Promise<HeldRows> {
  const client = new Client(connection);
  await client.connect();
  await client.query("begin");
  await client.query(sql, [...values]);
  let isHeld = true;
  const release = async () => {
    if (isHeld) {
      isHeld = false;
      await client.query("commit");
      await client.end();
    }
  };
  return {
    async waiting(count) {
      await until(`${count} wait for a lock`, async () => {
        const rows = await query(
          connection,
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        return rows.length === count;
      });
    },
    release,
    [Symbol.asyncDispose]: release,
  };
}
