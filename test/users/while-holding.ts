import { Client } from "pg";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { query } from "../support/cluster.ts";
import { forgetAll } from "../support/replicas.ts";
import { until } from "../support/until.ts";

/**
 * Makes a call meet somebody else's change that is not committed yet: it waits for that one, which then is.
 *
 * @param sql the change.
 * @returns what became of the call.
 */
export async function whileHolding<Result>(
  connection: DatabaseConnection,
  sql: string,
  values: readonly unknown[],
  call: () => Promise<Result>,
): Promise<Result> {
  const other = new Client(connection);
  await other.connect();
  try {
    await other.query("begin");
    await other.query(sql, [...values]);
    const result = call();
    // It is looked at below, when the other one is through.
    result.catch(() => {});
    await until("the call waits for the change", async () => {
      const waiting = await query(
        connection,
        `select from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and application_name <> ''`,
      );
      return waiting.length > 0;
    });
    await other.query("commit");
    forgetAll(connection.database);
    return await result;
  } finally {
    await other.end();
  }
}
