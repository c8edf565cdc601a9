import type { Socket } from "node:net";
import { Client, type Pool, type QueryResult } from "pg";
import { runningSignal } from "./cancellation.ts";
import { isStorageFault } from "./storage-error.ts";

/** Ends what a connection of this process id does now. */
export type CancelBackend = (processId: number) => Promise<unknown>;

const GOODBYE_MILLIS = 1_000;

/** What begins and ends a transaction: it is carried out also when nobody waits for it any more. */
const TRANSACTION_CONTROL = /^\s*(begin|start transaction|commit|rollback)\b/i;

type Release = (error?: Error | boolean) => void;

/**
 * A connection whose statements are cancelled in the database when the work that they belong to is given
 * up. It is given back only once the cancelling is over: the next work's statement must not be hit.
 *
 * One that has turned out to lead nowhere, or to a standby, is not used again. Nor is one on which a
 * transaction could not begin or end: it takes itself out of the pool then, since the query builder under
 * the ORM forgets to give it back (kysely-org/kysely#1990), and a pool that is emptied so never recovers.
 */
export function pooledClient(cancelBackend: CancelBackend): typeof Client {
  return class PooledClient extends Client {
    /** Whether a statement failed for a reason that lies with the connection or with the server behind it. */
    isSuspect = false;
    #release: Release | undefined;

    /** The pool sets it at each checkout. Whoever comes second has nothing to give back any more. */
    set release(release: Release) {
      let isReleased = false;
      this.#release = (error) => {
        if (!isReleased) {
          isReleased = true;
          release(error);
        }
      };
    }

    get release(): Release {
      return this.#release ?? (() => {});
    }

    // The many shapes of pg's own query(): those that promise a result are the ones that can be given up.
    override query(...call: unknown[]): never {
      const run = () => super.query(...(call as [string])) as unknown;
      const [statement] = call;
      const text = typeof statement === "string" ? statement : (statement as { text?: unknown }).text;
      const promises = typeof call.at(-1) !== "function" && typeof text === "string";
      const isOurs = promises && !(typeof statement === "object" && "submit" in (statement ?? {}));
      if (!isOurs) {
        return run() as never;
      }
      const promised = run as () => Promise<QueryResult>;
      const isControl = TRANSACTION_CONTROL.test(text);
      return (isControl ? this.#begunOrEnded(promised) : this.#untilGivenUp(promised)) as never;
    }

    async #begunOrEnded(run: () => Promise<QueryResult>): Promise<QueryResult> {
      try {
        return await run();
      } catch (error) {
        this.release(error instanceof Error ? error : true);
        throw error;
      }
    }

    async #untilGivenUp(run: () => Promise<QueryResult>): Promise<QueryResult> {
      const signal = runningSignal();
      signal?.throwIfAborted();
      let cancelling: Promise<unknown> | undefined;
      const cancel = () => {
        const { processID } = this as unknown as { processID: number };
        cancelling = cancelBackend(processID).catch(() => {});
      };
      signal?.addEventListener("abort", cancel, { once: true });
      try {
        return await run();
      } catch (error) {
        signal?.throwIfAborted();
        this.isSuspect ||= isStorageFault(error);
        throw error;
      } finally {
        signal?.removeEventListener("abort", cancel);
        await cancelling;
      }
    }
  };
}

/** Ends a connection. Nobody waits for that; a server that has stopped answering is not told it. */
export function endNow(client: Client): void {
  const { connection } = client as unknown as { connection: { stream: Socket } };
  setTimeout(() => connection.stream.destroy(), GOODBYE_MILLIS).unref();
  client.end().catch(() => {});
}

/** Takes connections out of a pool that are not to be used again: to end one makes the pool forget it. */
export function discardSuspects(pool: Pool): void {
  pool.on("release", (_error, client) => {
    if ("isSuspect" in client && client.isSuspect) {
      endNow(client as unknown as Client);
    }
  });
}
