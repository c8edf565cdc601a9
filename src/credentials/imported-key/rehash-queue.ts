import { AsyncLocalStorage } from "node:async_hooks";

/** The secret of an imported key, as its slot is to have it. */
export interface Rehash {
  readonly apiKeyId: string;
  readonly lookupId: string;
  readonly displayPrefix: string;
  /** HMAC-SHA-256 of the whole text under the pepper. */
  readonly digest: Buffer;
  readonly pepperId: string;
}

/** Puts the secrets of imported keys into slots after their first use, one after the other, beside the calls. */
export interface RehashQueue {
  /** Never waits, and never fails. A key that waits already is not added twice. */
  add(rehash: Rehash): void;
  /** Resolves when nothing waits any more. */
  drain(): Promise<void>;
}

/** What does not fit is left to the key's next use. */
const MOST_WAITING = 1_000;

/**
 * @param work may fail: then whatever waits is forgotten, and left to the keys' next uses.
 * @param onFault told of a failure, and of no other until it has worked again.
 */
export function createRehashQueue(
  work: (rehash: Rehash) => Promise<void>,
  onFault: (error: unknown) => void,
): RehashQueue {
  const waiting = new Map<string, Rehash>();
  let running: Promise<void> | undefined;
  let isFailing = false;
  // The call that brings a key is not waited for, and may be given up: what it starts goes on without it.
  const outsideOfCalls = AsyncLocalStorage.snapshot();

  async function run(): Promise<void> {
    try {
      for (const [id, rehash] of waiting) {
        await work(rehash);
        waiting.delete(id);
        isFailing = false;
      }
    } catch (error) {
      waiting.clear();
      if (!isFailing) {
        onFault(error);
      }
      isFailing = true;
    } finally {
      running = undefined;
    }
  }

  return {
    add(rehash) {
      if (waiting.size < MOST_WAITING && !waiting.has(rehash.apiKeyId)) {
        waiting.set(rehash.apiKeyId, rehash);
        running ??= outsideOfCalls(run);
      }
    },
    async drain() {
      while (running !== undefined) {
        await running;
      }
    },
  };
}
