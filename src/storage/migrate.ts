import { Migrator } from "@mikro-orm/migrations";
import { MikroORM, PostgreSqlDriver } from "@mikro-orm/postgresql";
import { Client } from "pg";
import type { DatabaseConnection } from "./database-connection.ts";
import { LOCKS } from "./locks.ts";
import { Initial } from "./migrations/0001-initial.ts";
import { KeysAndRoles } from "./migrations/0002-keys-and-roles.ts";
import { ImportedKeys } from "./migrations/0003-imported-keys.ts";
import { KeyUsage } from "./migrations/0004-key-usage.ts";
import { LoginThrottle } from "./migrations/0005-login-throttle.ts";
import { Accounts } from "./migrations/0006-accounts.ts";
import { Organizations } from "./migrations/0007-organizations.ts";
import { Sessions } from "./migrations/0008-sessions.ts";
import { SessionParents } from "./migrations/0009-session-parents.ts";
import { SigningKeys } from "./migrations/0010-signing-keys.ts";
import { Audit } from "./migrations/0011-audit.ts";
import { Changes } from "./migrations/0012-changes.ts";
import { rootCause } from "./storage-error.ts";

/** In their order. A released migration never changes, and each leaves the version before it working. */
const MIGRATIONS = [
  { name: "0001-initial", class: Initial },
  { name: "0002-keys-and-roles", class: KeysAndRoles },
  { name: "0003-imported-keys", class: ImportedKeys },
  { name: "0004-key-usage", class: KeyUsage },
  { name: "0005-login-throttle", class: LoginThrottle },
  { name: "0006-accounts", class: Accounts },
  { name: "0007-organizations", class: Organizations },
  { name: "0008-sessions", class: Sessions },
  { name: "0009-session-parents", class: SessionParents },
  { name: "0010-signing-keys", class: SigningKeys },
  { name: "0011-audit", class: Audit },
  { name: "0012-changes", class: Changes },
];

/** Where the ORM keeps the names of the migrations that were run. */
const TABLE = "latchkey_migrations";
const OLDEST_SERVER = 150_000;
const CONNECT_MILLIS = 5_000;

export type DeploymentMode = "development" | "production";

/** The database cannot be used; the message is for a person. */
export class DatabaseUnusable extends Error {
  override readonly name = "DatabaseUnusable";
}

/**
 * Brings the schema up to date and marks the database as one for development or for production.
 * Several processes may do it at once: they take turns.
 *
 * @returns the names of the migrations that were run.
 * @throws DatabaseUnusable where the server is out of reach or too old, or the database is another's.
 */
export async function migrate(connection: DatabaseConnection, mode: DeploymentMode): Promise<string[]> {
  const client = new Client({ ...connection, connectionTimeoutMillis: CONNECT_MILLIS });
  // A connection that breaks between two queries makes the next one reject: that is where it is told.
  client.on("error", () => {});
  try {
    await client.connect();
  } catch (error) {
    throw new DatabaseUnusable(`cannot connect to the database: ${reasonOf(error)}`, { cause: error });
  }
  try {
    await client.query("select pg_advisory_lock($1)", [LOCKS.migrate]);
    await refuseUnlessOurs(client, mode);
    const names = await runPending(connection);
    await client.query("insert into latchkey_deployment (mode) values ($1) on conflict do nothing", [mode]);
    return names;
  } catch (error) {
    throw error instanceof DatabaseUnusable
      ? error
      : new DatabaseUnusable(`cannot set up the database: ${reasonOf(error)}`, { cause: error });
  } finally {
    // Ending the connection gives up the lock.
    await client.end();
  }
}

async function refuseUnlessOurs(client: Client, mode: DeploymentMode): Promise<void> {
  const { rows } = await client.query<{ version: number; marked: boolean; tables: string }>(`
    select current_setting('server_version_num')::int as version,
      to_regclass('latchkey_deployment') is not null as marked,
      (select count(*) from pg_tables
        where schemaname = current_schema() and tablename <> '${TABLE}') as tables`);
  const server = rows[0];
  if (server === undefined || server.version < OLDEST_SERVER) {
    throw new DatabaseUnusable(
      `the database server is PostgreSQL ${Math.floor((server?.version ?? 0) / 10_000)}; Latchkey needs 15 or later`,
    );
  }
  if (!server.marked) {
    if (Number(server.tables) > 0) {
      throw new DatabaseUnusable("the database holds tables that are not Latchkey's; give it one of its own");
    }
    return;
  }
  const deployment = await client.query<{ mode: DeploymentMode }>("select mode from latchkey_deployment");
  const made = deployment.rows[0]?.mode ?? mode;
  if (made !== mode) {
    throw new DatabaseUnusable(
      made === "development"
        ? "the database was made by `npm start` for development, with credentials that were printed; use another one for production"
        : "the database is a production one; development needs a database of its own",
    );
  }
}

/** An ORM of its own: migrations may take longer than the service lets a statement run. */
async function runPending(connection: DatabaseConnection): Promise<string[]> {
  const orm = await MikroORM.init({
    driver: PostgreSqlDriver,
    dbName: connection.database,
    driverOptions: { ...connection, connectionTimeoutMillis: CONNECT_MILLIS },
    entities: [],
    discovery: { warnWhenNoEntities: false },
    extensions: [Migrator],
    migrations: { migrationsList: MIGRATIONS, tableName: TABLE, snapshot: false },
    pool: { min: 0, max: 1 },
    logger: () => {},
  });
  try {
    const pending = await orm.migrator.getPending();
    if (pending.length > 0) {
      await orm.migrator.up();
    }
    return pending.map((migration) => migration.name);
  } finally {
    await orm.close(true);
  }
}

function reasonOf(error: unknown): string {
  const cause = rootCause(error);
  return cause instanceof Error ? cause.message : String(cause);
}
