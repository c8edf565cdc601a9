import { Client, type QueryResult } from "pg";
import { runningSignal } from "./cancellation.ts";

/** Ends what a connection of this process id does now. */
export type CancelBackend = (processId: number) => Promise<unknown>;

/** What a rolled-back transaction needs, also when nobody waits for it any more. */
const NEVER_CANCELLED = /^\s*rollback\b/i;

/**
 * A connection whose statements are cancelled in the database when the work that they belong to is given
 * up. It is given back only once the cancelling is over: the next work's statement must not be hit.
 */
export function cancellableClient(cancelBackend: CancelBackend): typeof Client {
  return class CancellableClient extends Client {
    // The many shapes of pg's own query(): those that promise a result are the ones that can be given up.
    override query(...call: unknown[]): never {
      const run = () => super.query(...(call as [string])) as unknown;
      const signal = runningSignal();
      const [statement] = call;
      const text = typeof statement === "string" ? statement : (statement as { text?: unknown }).text;
      const promises = typeof call.at(-1) !== "function" && typeof text === "string";
      const isOurs = promises && !(typeof statement === "object" && "submit" in (statement ?? {}));
      if (signal === undefined || !isOurs || NEVER_CANCELLED.test(text)) {
        return run() as never;
      }
      return this.#untilGivenUp(signal, run as () => Promise<QueryResult>) as never;
    }

    async #untilGivenUp(signal: AbortSignal, run: () => Promise<QueryResult>): Promise<QueryResult> {
      signal.throwIfAborted();
      let cancelling: Promise<unknown> | undefined;
      const cancel = () => {
        const { processID } = this as unknown as { processID: number };
        cancelling = cancelBackend(processID).catch(() => {});
      };
      signal.addEventListener("abort", cancel, { once: true });
      try {
        return await run();
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      } finally {
        signal.removeEventListener("abort", cancel);
        await cancelling;
      }
    }
  };
}
