import type { Socket } from "node:net";
import { Client } from "pg";
import type { Hearing } from "../../src/changes/change-feed.ts";
import { readRevision, writeRevision } from "../../src/changes/revision.ts";
import { parseSnapshot } from "../../src/changes/snapshot.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";

/** A service of this process, as far as its memory is concerned. */
export interface Replica {
  readonly hearing: Hearing;
  /** Makes it forget all that it remembers. */
  forget(): void;
}

const replicas = new Map<string, Set<Replica>>();

/** @returns what is to be called at its end. */
export function joinReplicas(database: string, replica: Replica): () => void {
  const all = replicas.get(database) ?? new Set();
  replicas.set(database, all);
  all.add(replica);
  return () => all.delete(replica);
}

/** Whoever changes rows past Latchkey has its services forget what they remember, as an operator would. */
export function forgetAll(database: string): void {
  for (const replica of replicas.get(database) ?? []) {
    replica.forget();
  }
}

/** Reads the database's current snapshot, over one connection however many ask: a cluster has not many. */
export function snapshotReader(connection: DatabaseConnection) {
  let client: Promise<Client> | undefined;
  const connect = async () => {
    const made = new Client({ ...connection, connectionTimeoutMillis: 2_000, query_timeout: 2_000 });
    // Tests end connections: the next one that asks makes another.
    made.on("error", () => {
      client = undefined;
    });
    await made.connect();
    return made;
  };
  return {
    read: async (): Promise<string> => {
      client ??= connect();
      try {
        const { rows } = await (await client).query<{ snapshot: string }>(
          "select pg_current_snapshot()::text as snapshot",
        );
        return rows[0]?.snapshot ?? "";
      } catch (error) {
        client = undefined;
        throw error;
      }
    },
    /** Nobody waits for a goodbye: the server may be gone, or busy. */
    end: (): void => {
      client?.then(
        (made) => (made as unknown as { connection: { stream: Socket } }).connection.stream.destroy(),
        () => {},
      );
    },
  };
}

/**
 * Waits until a replica has heard of all that the others have changed, which takes milliseconds where nothing is
 * broken. How many, and what holds where something is, is tested by itself.
 *
 * @param snapshot asks the database for its current one.
 */
export async function catchUp(
  database: string,
  hearing: Hearing,
  snapshot: () => Promise<string>,
): Promise<void> {
  if ((replicas.get(database)?.size ?? 0) < 2 || hearing.revision === "") {
    return;
  }
  const { epoch } = readRevision(hearing.revision);
  await hearing.reach(writeRevision({ epoch, snapshot: parseSnapshot(await snapshot()) }));
}
