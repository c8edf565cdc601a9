import assert from "node:assert/strict";
import { Client } from "pg";
import { ChangeFeed, type Heard } from "../../src/changes/change-feed.ts";
import type { ChangesRow } from "../../src/changes/feed-position.ts";
import { entities } from "../../src/entities.ts";
import { createLog } from "../../src/server/log.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { openStorage, type Storage } from "../../src/storage/open-storage.ts";
import { query } from "../support/cluster.ts";
import { until } from "../support/until.ts";

/** A feed that listens, and what it has heard and logged. */
export interface Listening {
  readonly feed: ChangeFeed;
  readonly storage: Storage;
  /** Each tag, and `everything`, in the order in which they were heard. */
  readonly heard: string[];
  readonly logged: string[];
  /** Changes what the database tells the feed of itself. */
  doctor: (row: ChangesRow) => ChangesRow;
  readonly renewed: () => number;
}

export async function startListening(
  stack: AsyncDisposableStack,
  connection: DatabaseConnection,
): Promise<Listening> {
  const heard: string[] = [];
  const logged: string[] = [];
  let renewals = 0;
  const opened = await openStorage({ connection, entities, onIdleError: () => {} });
  stack.defer(() => opened.close());
  const listening: { doctor: Listening["doctor"] } = { doctor: (row) => row };
  const storage: Storage = {
    ...opened,
    async connect(name) {
      const client = await opened.connect(name);
      const run = client.query.bind(client) as (...call: unknown[]) => Promise<{ rows: ChangesRow[] }>;
      client.query = (async (...call: unknown[]) => {
        const result = await run(...call);
        const isPoll = typeof call[0] === "object";
        return isPoll ? { ...result, rows: result.rows.map((row) => listening.doctor(row)) } : result;
      }) as never;
      return client;
    },
    renew() {
      renewals++;
      opened.renew();
    },
  };
  const feed = new ChangeFeed({
    storage,
    log: createLog("trace", { write: (line: string) => logged.push(line) }),
  });
  stack.defer(() => feed.close());
  feed.onHeard((what: Heard) => heard.push(...(what === "everything" ? [what] : what)));
  feed.start();
  await until("the feed has proved itself", () => feed.revision !== "");
  assert.deepEqual(heard.splice(0), ["everything"]);
  return Object.assign(listening, { feed, storage, heard, logged, renewed: () => renewals });
}

/** Writes a change as a transaction of its own, without a word to anybody. */
export async function change(connection: DatabaseConnection, ...tags: string[]): Promise<void> {
  await query(connection, "insert into changes (tags) values ($1)", [tags]);
}

/** Has the feed ask the database, and waits for what it is told. */
export async function asked({ feed, logged }: Listening, connection: DatabaseConnection): Promise<void> {
  const begun = performance.now();
  await query(connection, "select pg_notify('latchkey_changes', '')");
  await until(`the feed has asked; it says ${logged.at(-1)}`, () => feed.provenAt > begun);
}

/** A connection for transactions that go on for a while. */
export async function openClient(
  stack: AsyncDisposableStack,
  connection: DatabaseConnection,
): Promise<Client> {
  const client = new Client(connection);
  client.on("error", () => {});
  await client.connect();
  stack.defer(() => client.end());
  return client;
}
