import { Client } from "pg";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";

/** Tells whether anything was written between two looks. */
export interface DatabasePrint {
  /** Of each table, how many rows it has and a digest of what they say. */
  take(): Promise<Record<string, string>>;
  end(): Promise<void>;
}

/**
 * Written beside the calls, whenever it is time: how often keys were used, and which replicas there are. And what
 * refused logins are there to write: how many there were.
 */
const NOT_LOOKED_AT = ["key_usage", "rate_limit_replicas", "login_counters", "login_sources"];

export async function openDatabasePrint(connection: DatabaseConnection): Promise<DatabasePrint> {
  const client = new Client({ ...connection, query_timeout: 10_000 });
  await client.connect();
  const { rows: tables } = await client.query<{ name: string }>(
    `select tablename as name from pg_tables
     where schemaname = current_schema() and tablename <> all($1) order by 1`,
    [NOT_LOOKED_AT],
  );
  const prints = tables.map(
    ({ name }) =>
      `'${name}', (select count(*) || ' ' || md5(coalesce(string_agg(t::text, ';' order by t::text), '')) from ${name} t)`,
  );
  const statement = { name: "print", text: `select json_build_object(${prints.join(", ")}) as print` };
  return {
    async take() {
      const { rows } = await client.query<{ print: Record<string, string> }>(statement);
      return rows[0]?.print ?? {};
    },
    end: () => client.end(),
  };
}
