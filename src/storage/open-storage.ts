import { AsyncLocalStorage } from "node:async_hooks";
import { EventEmitter } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { Constructor } from "@mikro-orm/core";
import { type EntityManager, MikroORM, PostgreSqlDriver } from "@mikro-orm/postgresql";
import {
  type ClientBase,
  Client as LoneClient,
  Pool,
  type PoolClient,
  type PoolConfig,
  type QueryResultRow,
} from "pg";
import { throwIfGivenUp } from "./cancellation.ts";
import type { DatabaseConnection } from "./database-connection.ts";
import { discardSuspects, endNow, pooledClient } from "./pooled-client.ts";

/** Ours is one statement by primary keys: what takes longer than this is a fault. */
const VERIFY_MILLIS = 2_000;
const MANAGE_MILLIS = 10_000;
const BACKGROUND_MILLIS = 5_000;
/** How much later than the server's own time-out ours is: it is for a server that has stopped answering. */
const GRACE_MILLIS = 500;
const CONNECT_MILLIS = 2_000;
const CLOSE_MILLIS = 1_000;
/** SQLSTATE `read_only_sql_transaction`: what a standby says of what it cannot do. */
const READ_ONLY = "25006";
const KEEP_ALIVE_MILLIS = 5_000;
/** Of all the workers that share a machine, as long as each of them has the fewest. */
const VERIFY_CONNECTIONS = 10;
const MANAGE_CONNECTIONS = 10;
/** With fewer a few slow statements would keep a worker from answering. */
const FEWEST_CONNECTIONS = 3;
/** Of each: one is for what must not wait until a transaction of the other has ended. */
const BACKGROUND_CONNECTIONS = 2;

/**
 * The database, by three ways that cannot starve each other: verification, management, and what the service
 * does of its own accord.
 */
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
  /**
   * Runs one statement that no call waits for, prepared under its name. It is not given up with the call that
   * happened to bring it about.
   *
   * @returns the first row.
   */
  inBackground<Row extends QueryResultRow>(
    name: string,
    sql: string,
    values: readonly unknown[],
  ): Promise<Row | undefined>;
  /**
   * A transaction of the same kind, of several statements. It is begun anew by whoever comes next where it fails.
   *
   * @param work is given what runs a statement, for its rows.
   */
  inBackgroundTransaction<Result>(work: (run: RunStatement) => Promise<Result>): Promise<Result>;
  /**
   * Opens a connection that belongs to nobody's pool, for what listens. Whoever asks for it ends it, and hears of
   * its errors.
   *
   * @param name tells it from others in the server's list of connections.
   */
  connect(name: string): Promise<LoneClient>;
  /**
   * Has verification use none of the connections that there are now for another statement: the server that they
   * lead to is not the database any more.
   */
  renew(): void;
  /**
   * Told of what each transaction of this process has changed, or may have: once it has ended, and before whoever
   * began it goes on.
   */
  readonly commits: EventEmitter<CommitEvents>;
  /** Rejects unless the database answers, to verification and to management. */
  ping(): Promise<void>;
  /** Resolves within a second, also where the server has stopped answering. */
  close(): Promise<void>;
}

export interface CommitEvents {
  readonly changed: [tags: readonly string[]];
}

/** Runs one statement of a transaction. */
export type RunStatement = <Row extends QueryResultRow>(
  sql: string,
  values?: readonly unknown[],
) => Promise<Row[]>;

export interface StorageOptions {
  readonly connection: DatabaseConnection;
  readonly entities: readonly Constructor[];
  /** How many processes share the connections that a machine may have. By default this is the only one. */
  readonly workers?: number;
  /** Told of connections that broke while idle. They are replaced; nothing else is to be done. */
  readonly onIdleError: (error: Error) => void;
}

/** Opens a database whose schema is up to date. Connects only when asked something. */
export async function openStorage(options: StorageOptions): Promise<Storage> {
  const { connection, entities, onIdleError, workers = 1 } = options;
  const shareOf = (most: number) => Math.max(FEWEST_CONNECTIONS, Math.ceil(most / workers));
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
    pool: { min: 0, max: shareOf(MANAGE_CONNECTIONS) },
    // Each call has a unit of work of its own; using the global one is always a mistake.
    allowGlobalContext: false,
    // Whatever comes out of the database is told by throwing, and never logged with its values.
    logger: () => {},
  });

  const poolOf = (purpose: string, max: number, millis: number, more: PoolConfig = {}) =>
    new Pool({
      ...connection,
      ...more,
      Client,
      application_name: `latchkey ${purpose}`,
      max,
      connectionTimeoutMillis: CONNECT_MILLIS,
      statement_timeout: millis,
      query_timeout: millis + GRACE_MILLIS,
      idle_in_transaction_session_timeout: millis,
    });
  const pool = poolOf("verify", shareOf(VERIFY_CONNECTIONS), VERIFY_MILLIS, { onConnect: refuseStandby });
  const background = poolOf("background", BACKGROUND_CONNECTIONS, BACKGROUND_MILLIS);
  // Without a listener, a connection that breaks would end the process, be it idle or in use.
  for (const each of [pool, background, canceller]) {
    each.on("error", onIdleError);
    each.on("connect", (client) => client.on("error", () => {}));
  }
  discardSuspects(pool);
  discardSuspects(background);
  const outdated = outdatedClients(pool);
  const outsideOfCalls = AsyncLocalStorage.snapshot();

  return {
    fork: () => orm.em.fork(),
    verify: (name, text, values) => firstRow(pool, { name, text, values }, outdated.has),
    inBackground: (name, text, values) => outsideOfCalls(firstRow<never>, background, { name, text, values }),
    inBackgroundTransaction: (work) => outsideOfCalls(transact, background, work) as never,
    async connect(name) {
      const client = new LoneClient({
        ...connection,
        application_name: `latchkey ${name}`,
        connectionTimeoutMillis: CONNECT_MILLIS,
        query_timeout: VERIFY_MILLIS,
        keepAlive: true,
        keepAliveInitialDelayMillis: KEEP_ALIVE_MILLIS,
      });
      // It may break in the moment that it is made, before anybody else listens: then the first statement fails.
      client.on("error", () => {});
      try {
        await client.connect();
        return client;
      } catch (error) {
        endNow(client);
        throw error;
      }
    },
    renew: outdated.renew,
    commits: new EventEmitter(),
    async ping() {
      await Promise.all([pool.query("select 1"), orm.em.fork().execute("select 1")]);
    },
    async close() {
      // A server that has stopped answering does not say goodbye either.
      const closed = Promise.allSettled([orm.close(true), pool.end(), background.end(), canceller.end()]);
      await Promise.race([closed, delay(CLOSE_MILLIS, undefined, { ref: false })]);
    },
  };
}

interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
}

/**
 * A standby may be behind: what is read there may let somebody in who was shut out. A primary does not become one
 * without ending its connections.
 */
async function refuseStandby(client: ClientBase): Promise<void> {
  const { rows } = await client.query<{ isStandby: boolean }>('select pg_is_in_recovery() as "isStandby"');
  if (rows[0]?.isStandby !== false) {
    throw Object.assign(new Error("the server is a standby"), { code: READ_ONLY });
  }
}

/** Tells the connections of a pool that were there when it was last renewed from those that were made since. */
function outdatedClients(pool: Pool) {
  const clients = new Set<PoolClient>();
  let outdated = new WeakSet<PoolClient>();
  pool.on("connect", (client) => clients.add(client));
  pool.on("remove", (client) => clients.delete(client));
  return {
    has: (client: PoolClient) => outdated.has(client),
    renew() {
      outdated = new WeakSet(clients);
    },
  };
}

async function firstRow<Row extends QueryResultRow>(
  pool: Pool,
  { values, ...statement }: Statement,
  isOutdated: (client: PoolClient) => boolean = () => false,
): Promise<Row | undefined> {
  let client = await pool.connect();
  while (isOutdated(client)) {
    client.release(true);
    client = await pool.connect();
  }
  try {
    throwIfGivenUp();
    const result = await client.query<Row>({ ...statement, values: [...values] });
    return result.rows[0];
  } finally {
    client.release();
  }
}

async function transact<Result>(pool: Pool, work: (run: RunStatement) => Promise<Result>): Promise<Result> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    const result = await work(
      async <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => {
        return (await client.query<Row>(sql, values && [...values])).rows;
      },
    );
    await client.query("commit");
    return result;
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw error;
  } finally {
    client.release();
  }
}
