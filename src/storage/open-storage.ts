import { setTimeout as delay } from "node:timers/promises";
import type { Constructor } from "@mikro-orm/core";
import { type EntityManager, MikroORM, PostgreSqlDriver } from "@mikro-orm/postgresql";
import { Pool, type QueryResultRow } from "pg";
import { throwIfGivenUp } from "./cancellation.ts";
import type { DatabaseConnection } from "./database-connection.ts";
import { discardSuspects, pooledClient } from "./pooled-client.ts";

/** Ours is one statement by primary keys: what takes longer than this is a fault. */
const VERIFY_MILLIS = 2_000;
const MANAGE_MILLIS = 10_000;
/** How much later than the server's own time-out ours is: it is for a server that has stopped answering. */
const GRACE_MILLIS = 500;
const CONNECT_MILLIS = 2_000;
const CLOSE_MILLIS = 1_000;
const VERIFY_CONNECTIONS = 10;
const MANAGE_CONNECTIONS = 10;

/** The database, by two ways that cannot starve each other: verification and management. */
export interface Storage {
  /** A unit of work of its own for one management call. */
  fork(): EntityManager;
  /**
   * Runs one statement of the verify path, prepared under its name.
   *
   * @returns the first row.
   */
  verify<Row extends QueryResultRow>(
    name: string,
    sql: string,
    values: readonly unknown[],
  ): Promise<Row | undefined>;
  /** Rejects unless the database answers, by both ways. */
  ping(): Promise<void>;
  /** Resolves within a second, also where the server has stopped answering. */
  close(): Promise<void>;
}

export interface StorageOptions {
  readonly connection: DatabaseConnection;
  readonly entities: readonly Constructor[];
  /** Told of connections that broke while idle. They are replaced; nothing else is to be done. */
  readonly onIdleError: (error: Error) => void;
}

/** Opens a database whose schema is up to date. Connects only when asked something. */
export async function openStorage({ connection, entities, onIdleError }: StorageOptions): Promise<Storage> {
  const canceller = new Pool({
    ...connection,
    application_name: "latchkey cancel",
    max: 1,
    connectionTimeoutMillis: CONNECT_MILLIS,
    query_timeout: VERIFY_MILLIS,
  });
  const Client = pooledClient((processId) => canceller.query("select pg_cancel_backend($1)", [processId]));

  const orm = await MikroORM.init({
    driver: PostgreSqlDriver,
    dbName: connection.database,
    driverOptions: {
      ...connection,
      Client,
      application_name: "latchkey manage",
      onPoolCreated: discardSuspects,
      connectionTimeoutMillis: CONNECT_MILLIS,
      statement_timeout: MANAGE_MILLIS,
      query_timeout: MANAGE_MILLIS + GRACE_MILLIS,
      idle_in_transaction_session_timeout: MANAGE_MILLIS,
    },
    entities: [...entities],
    pool: { min: 0, max: MANAGE_CONNECTIONS },
    // Each call has a unit of work of its own; using the global one is always a mistake.
    allowGlobalContext: false,
    // Whatever comes out of the database is told by throwing, and never logged with its values.
    logger: () => {},
  });

  const pool = new Pool({
    ...connection,
    Client,
    application_name: "latchkey verify",
    max: VERIFY_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_MILLIS,
    statement_timeout: VERIFY_MILLIS,
    query_timeout: VERIFY_MILLIS + GRACE_MILLIS,
  });
  // Without a listener, a connection that breaks would end the process, be it idle or in use.
  for (const each of [pool, canceller]) {
    each.on("error", onIdleError);
    each.on("connect", (client) => client.on("error", () => {}));
  }
  discardSuspects(pool);

  return {
    fork: () => orm.em.fork(),
    async verify(name, text, values) {
      const client = await pool.connect();
      try {
        throwIfGivenUp();
        const result = await client.query({ name, text, values: [...values] });
        return result.rows[0];
      } finally {
        client.release();
      }
    },
    async ping() {
      await Promise.all([pool.query("select 1"), orm.em.fork().execute("select 1")]);
    },
    async close() {
      // A server that has stopped answering does not say goodbye either.
      const closed = Promise.allSettled([orm.close(true), pool.end(), canceller.end()]);
      await Promise.race([closed, delay(CLOSE_MILLIS, undefined, { ref: false })]);
    },
  };
}
