import { Client, type Pool, type QueryResult } from "pg";
import { runningSignal } from "./cancellation.ts";
import { isStorageFault } from "./storage-error.ts";

/** Ends what a connection of this process id does now. */
export type CancelBackend = (processId: number) => Promise<unknown>;

/** What a rolled-back transaction needs, also when nobody waits for it any more. */
const NEVER_CANCELLED = /^\s*rollback\b/i;

/**
 * A connection whose statements are cancelled in the database when the work that they belong to is given
 * up. It is given back only once the cancelling is over: the next work's statement must not be hit. One
 * that has turned out to lead nowhere, or to a standby, is not used again.
 */
export function pooledClient(cancelBackend: CancelBackend): typeof Client {
  return class PooledClient extends Client {
    /** Whether a statement failed for a reason that lies with the connection or with the server behind it. */
    isSuspect = false;

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
      const signal = NEVER_CANCELLED.test(text) ? undefined : runningSignal();
      return this.#watched(signal, run as () => Promise<QueryResult>) as never;
    }

    async #watched(signal: AbortSignal | undefined, run: () => Promise<QueryResult>): Promise<QueryResult> {
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

/** Takes connections out of a pool that are not to be used again: to end one makes the pool forget it. */
export function discardSuspects(pool: Pool): void {
  pool.on("release", (_error, client) => {
    if ("isSuspect" in client && client.isSuspect) {
      // Nobody waits for its end, and there is nothing to do where it cannot even be told.
      (client as unknown as Client).end().catch(() => {});
    }
  });
}
