import assert from "node:assert/strict";
import { v4 as uuidv4 } from "uuid";
import type { RateLimit } from "../../src/credentials/rate-limit.ts";
import { entities } from "../../src/entities.ts";
import { AuthError } from "../../src/errors.ts";
import {
  creditOf,
  SharedRateLimiter,
  type SharedRateLimiterOptions,
} from "../../src/rate-limit/shared-rate-limiter.ts";
import { createLog } from "../../src/server/log.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { openStorage, type Storage } from "../../src/storage/open-storage.ts";
import { createDatabase } from "../support/cluster.ts";
import { until } from "../support/until.ts";

/** A time of day that is not near the end of a window, and whose windows have not ended whenever the test runs. */
export const TOMORROW = (Math.floor(Date.now() / 86_400_000) + 1) * 86_400_000 + 40_000_000;

/** Wall time that stands still. */
export const stands = () => TOMORROW;

/** A database of its own, and replicas on it, that end with the test. */
export class Deployment {
  readonly stack: AsyncDisposableStack;
  readonly connection: DatabaseConnection;
  readonly #storages: Storage[] = [];

  private constructor(stack: AsyncDisposableStack, connection: DatabaseConnection) {
    this.stack = stack;
    this.connection = connection;
  }

  static async create(stack: AsyncDisposableStack): Promise<Deployment> {
    return new Deployment(stack, await createDatabase());
  }

  /** The way to the database of the n-th replica. */
  async storage(at = 0): Promise<Storage> {
    const { connection } = this;
    this.#storages[at] ??= await openStorage({ connection, entities, onIdleError: () => {} });
    this.stack.defer(() => this.#storages[at]?.close());
    return this.#storages[at];
  }

  async start(options: Partial<SharedRateLimiterOptions> & { at?: number } = {}): Promise<SharedRateLimiter> {
    const log = createLog("silent", { write() {} });
    const storage = options.storage ?? (await this.storage(options.at));
    const limiter = new SharedRateLimiter({ clock: stands, log, ...options, storage });
    this.stack.defer(() => limiter.close());
    await limiter.start();
    return limiter;
  }

  /** Replicas that know of each other. */
  async startMany(count: number): Promise<SharedRateLimiter[]> {
    const limiters: SharedRateLimiter[] = [];
    for (let at = 0; at < count; at++) {
      limiters.push(await this.start({ at }));
    }
    await until("all know that there are others", () => limiters.every((limiter) => !isAlone(limiter)));
    return limiters;
  }
}

export type Outcome = "allowed" | "limited" | "again" | "UNAVAILABLE";

/** One use. `limited`: until the window ends; `again`: for a moment. */
export function take(limiter: SharedRateLimiter, keyId: string, limit: RateLimit): Outcome {
  try {
    limiter.take(keyId, limit);
    return "allowed";
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    if (error.reason === "UNAVAILABLE") {
      return "UNAVAILABLE";
    }
    assert.equal(error.reason, "RATE_LIMITED");
    const { retryAfterMillis = 0 } = error;
    assert.ok(retryAfterMillis > 0 && retryAfterMillis <= limit.windowSeconds * 1000, `${retryAfterMillis}`);
    return retryAfterMillis <= 100 ? "again" : "limited";
  }
}

/** Uses without a pause, and how many had each outcome. */
export function burst(
  limiter: SharedRateLimiter,
  keyId: string,
  limit: RateLimit,
  count: number,
): Partial<Record<Outcome, number>> {
  const counts: Partial<Record<Outcome, number>> = {};
  for (let turn = 0; turn < count; turn++) {
    const outcome = take(limiter, keyId, limit);
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

const PROBE: RateLimit = { requests: 100, windowSeconds: 86_400 };

/** Whether a replica takes itself for the only one: it then allows all of a limit at once. */
export function isAlone(limiter: SharedRateLimiter): boolean {
  const { allowed } = burst(limiter, uuidv4(), PROBE, PROBE.requests);
  assert.ok(allowed === PROBE.requests || allowed === creditOf(PROBE), `${allowed}`);
  return allowed === PROBE.requests;
}
