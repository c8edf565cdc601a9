import type { Logger } from "pino";
import { v4 as uuidv4 } from "uuid";
import type { RateLimiter } from "../authenticate/authenticate.ts";
import type { RateLimit } from "../credentials/rate-limit.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { RateWindow } from "./rate-window.ts";
import { forgetPastWindows, leaveReplicas, readWindows, reportUses, type WindowUses } from "./report-uses.ts";
import { Solitude } from "./solitude.ts";

/** How long uses wait to be reported that are not urgent. */
const REPORT_MILLIS = 50;
/** How long to wait after a report that has failed. */
const RETRY_MILLIS = 250;
/** How often to say that this replica is there. */
const BEAT_MILLIS = 1_000;
/** A report that takes longer than this counts as one that fails. */
const LATE_MILLIS = 1_000;
/** When to come again, where a report has to be waited for. */
const SHORT_RETRY_MILLIS = 100;
/** How long a window is remembered after its end: a clock may be set back a little. */
const PAST_MILLIS = 2_000;
const FORGET_MILLIS = 60_000;
/** How many windows a replica reads to know all that was used before it became the only one. */
const MOST_READ = 100_000;

export interface SharedRateLimiterOptions {
  readonly storage: Storage;
  readonly log: Logger;
  /** Wall time, in milliseconds. */
  readonly clock?: () => number;
}

/**
 * How many uses of a key a replica allows before the database knows of them, where there are other replicas:
 * a twentieth of the limit or 5, whichever is more, but at most half of the limit (rounded up).
 */
export function creditOf({ requests }: RateLimit): number {
  return Math.min(Math.ceil(requests / 2), Math.max(5, Math.ceil(requests / 20)));
}

/**
 * Rate limits that all replicas share, without a call that waits: each use is counted here and reported to the
 * database, at once or within 50 ms, and its answers tell of the uses elsewhere.
 *
 * What it guarantees for one key and one window:
 *
 * - With one replica exactly `requests` uses are allowed, also in a burst, and across a restart.
 * - With n replicas at most `requests` + (n − 1) × creditOf() are. Whoever is told to wait until the end of the
 *   window has used up the limit. Uses that come to one replica faster than it can report them, more than
 *   creditOf() of them within one answer of the database, are told to come again 100 ms later.
 * - A lone replica takes up to 3 seconds to notice that another one has started or that the database is away.
 *   If a burst comes to it within them, it may allow up to `requests` by itself.
 * - Where uses cannot be reported, each replica allows creditOf() of them. Further ones are UNAVAILABLE.
 * - A replica that is killed takes along what it has not reported.
 *
 * A report that may or may not have worked is made again: its uses may count twice, and never not at all.
 * Windows are those of this process's clock.
 */
export class SharedRateLimiter implements RateLimiter {
  readonly #storage: Storage;
  readonly #log: Logger;
  readonly #clock: () => number;
  readonly #replicaId = uuidv4();
  readonly #solitude = new Solitude();
  /** By the key: hardly ever more than the one that is open and the one before. */
  readonly #windows = new Map<string, RateWindow[]>();
  #size = 0;
  /** Those with uses to report. */
  readonly #dirty = new Set<RateWindow>();
  #reporting: Promise<void> | undefined;
  #askedAt: number | undefined;
  #failure: unknown;
  /** Whether all uses of the open windows are known, unless others make them. */
  #knowsAll = false;
  #readAt = 0;
  #isUrgent = false;
  #timer: NodeJS.Timeout | undefined;
  #beat: NodeJS.Timeout | undefined;
  #sweepAt = 0;
  #forgetAt = performance.now() + FORGET_MILLIS;
  #isClosed = false;

  constructor({ storage, log, clock = Date.now }: SharedRateLimiterOptions) {
    this.#storage = storage;
    this.#log = log;
    this.#clock = clock;
  }

  /** Makes itself known to the other replicas. It works without, where the database is away. */
  async start(): Promise<void> {
    await this.#begin();
    if (this.#failure === undefined) {
      // One answer is not enough to know that there is nobody else.
      await this.#begin();
    }
    if (this.#failure === undefined && !this.#knowsAll) {
      // There are others. What they have used up so far need not be found out key by key.
      await this.#readAll();
    }
    this.#beat = setInterval(() => void this.#begin(), BEAT_MILLIS).unref();
  }

  /** Counts one use. Returns or throws at once. */
  take(keyId: string, limit: RateLimit): void {
    const now = this.#clock();
    const window = this.#windowOf(keyId, limit, now);
    if (window.used >= limit.requests) {
      throw new AuthError("RATE_LIMITED", { retryAfterMillis: window.endMillis - now });
    }
    const credit = this.#knowsAll && this.#solitude.isAlone ? limit.requests : creditOf(limit);
    if (window.unreported >= credit) {
      this.#wake(true);
      throw this.#isOut()
        ? new AuthError("UNAVAILABLE", { cause: this.#failure ?? new Error("a report of uses is late") })
        : new AuthError("RATE_LIMITED", {
            retryAfterMillis: Math.min(SHORT_RETRY_MILLIS, window.endMillis - now),
          });
    }
    window.use();
    this.#dirty.add(window);
    this.#wake(!window.wasTold || window.unreported * 2 >= credit);
  }

  /** How many windows are remembered. */
  get size(): number {
    return this.#size;
  }

  /** Reports the last uses, and says that this replica is there no more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#beat);
    await this.#reporting;
    if (this.#dirty.size > 0) {
      await this.#begin();
    }
    await leaveReplicas(this.#storage, this.#replicaId).catch((error: unknown) => {
      this.#log.warn({ err: error }, "the other replicas could not be told that this one ends");
    });
  }

  #windowOf(keyId: string, { windowSeconds }: RateLimit, now: number): RateWindow {
    const millis = windowSeconds * 1000;
    const start = Math.floor(now / millis) * millis;
    return this.#windowFrom(keyId, start, start + millis);
  }

  #windowFrom(keyId: string, startMillis: number, endMillis: number): RateWindow {
    const known = this.#windows.get(keyId);
    if (known !== undefined) {
      for (const window of known) {
        if (window.startMillis === startMillis && window.endMillis === endMillis) {
          return window;
        }
      }
    }
    const window = new RateWindow(keyId, startMillis, endMillis);
    if (known === undefined) {
      this.#windows.set(keyId, [window]);
    } else {
      known.push(window);
    }
    this.#size++;
    return window;
  }

  #isOut(): boolean {
    const isLate = this.#askedAt !== undefined && performance.now() - this.#askedAt > LATE_MILLIS;
    return isLate || this.#failure !== undefined;
  }

  #wake(isUrgent: boolean): void {
    this.#isUrgent ||= isUrgent;
    if (this.#isClosed || this.#reporting !== undefined) {
      return;
    }
    if (this.#isUrgent && this.#failure === undefined) {
      void this.#begin();
      return;
    }
    const millis = this.#failure === undefined ? REPORT_MILLIS : RETRY_MILLIS;
    this.#timer ??= setTimeout(() => void this.#begin(), millis).unref();
  }

  /** One report at a time: what comes meanwhile goes with the next. */
  #begin(): Promise<void> {
    this.#reporting ??= this.#report().finally(() => {
      this.#reporting = undefined;
      if (this.#dirty.size > 0) {
        this.#wake(false);
      }
    });
    return this.#reporting;
  }

  async #report(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isUrgent = false;
    this.#dropPast();
    const windows = [...this.#dirty];
    this.#dirty.clear();
    const askedAt = performance.now();
    this.#askedAt = askedAt;
    try {
      const uses = windows.map((window) => window.report());
      const { others, totals } = await reportUses(this.#storage, this.#replicaId, uses);
      this.#learn(totals);
      this.#solitude.heard(others, askedAt);
      this.#failure = undefined;
    } catch (error) {
      for (const window of windows) {
        window.failed();
        this.#dirty.add(window);
      }
      if (this.#failure === undefined) {
        this.#log.warn({ err: error }, "the uses of keys with a rate limit could not be reported");
      }
      this.#failure = error;
      return;
    } finally {
      this.#askedAt = undefined;
    }
    await this.#knowAll();
    await this.#forget();
  }

  #learn(totals: readonly WindowUses[]): void {
    for (const { keyId, startSeconds, endSeconds, uses } of totals) {
      this.#windowFrom(keyId, startSeconds * 1000, endSeconds * 1000).told(uses);
    }
  }

  /** Whoever becomes the only replica asks what the others have left. */
  async #knowAll(): Promise<void> {
    if (!this.#solitude.isAlone) {
      this.#knowsAll = false;
    } else if (!this.#knowsAll && !this.#isClosed && performance.now() >= this.#readAt) {
      this.#knowsAll = await this.#readAll();
    }
  }

  /** @returns whether all was read. */
  async #readAll(): Promise<boolean> {
    try {
      const totals = await readWindows(this.#storage, MOST_READ);
      this.#learn(totals);
      if (totals.length < MOST_READ) {
        return true;
      }
    } catch (error) {
      this.#log.warn({ err: error }, "the uses of keys with a rate limit could not be read");
    }
    this.#readAt = performance.now() + FORGET_MILLIS;
    return false;
  }

  #dropPast(): void {
    if (performance.now() < this.#sweepAt) {
      return;
    }
    this.#sweepAt = performance.now() + BEAT_MILLIS;
    const past = this.#clock() - PAST_MILLIS;
    for (const [keyId, windows] of this.#windows) {
      const left = windows.filter((window) => window.endMillis >= past);
      if (left.length === windows.length) {
        continue;
      }
      for (const window of windows) {
        if (window.endMillis < past) {
          this.#dirty.delete(window);
        }
      }
      this.#size -= windows.length - left.length;
      if (left.length === 0) {
        this.#windows.delete(keyId);
      } else {
        this.#windows.set(keyId, left);
      }
    }
  }

  async #forget(): Promise<void> {
    if (this.#isClosed || this.#failure !== undefined || performance.now() < this.#forgetAt) {
      return;
    }
    this.#forgetAt = performance.now() + FORGET_MILLIS;
    await forgetPastWindows(this.#storage).catch((error: unknown) => {
      this.#log.warn({ err: error }, "past windows of rate limits could not be deleted");
    });
  }
}
