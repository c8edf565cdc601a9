import type { Logger } from "pino";
import type { UsageMeter } from "../authenticate/authenticate.ts";
import type { HeldSecret } from "../authenticate/trace.ts";
import type { Storage } from "../storage/open-storage.ts";
import { UsageTally } from "./usage-tally.ts";
import { forgetOldUsage, writeUsage } from "./write-usage.ts";

const FORGET_MILLIS = 3_600_000;

export interface UsageRecorderOptions {
  readonly storage: Storage;
  readonly log: Logger;
  /** Wall time, in milliseconds. */
  readonly clock?: () => number;
  /** How long uses wait to be written down. */
  readonly flushMillis?: number;
  /** How many secrets are counted apart while they wait; while a write fails up to twice as many. */
  readonly most?: number;
}

/**
 * Counts the uses of keys in memory, and writes all that was counted down in one statement every few seconds.
 *
 * What cannot be written is kept and written later, once. Only where the connection is lost while the database
 * commits is it not known whether it was written: it is written again then, and those few seconds may be
 * counted twice. A process that is killed loses the uses of its last few seconds.
 *
 * The day of a use, and its time, are by this process's clock.
 */
export class UsageRecorder implements UsageMeter {
  readonly #storage: Storage;
  readonly #log: Logger;
  readonly #clock: () => number;
  readonly #flushMillis: number;
  readonly #early: number;
  readonly #tally: UsageTally;
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;
  #forgetAt = 0;
  #isFailing = false;
  #lost = 0;
  #isClosed = false;

  constructor(options: UsageRecorderOptions) {
    const { storage, log, clock = Date.now, flushMillis = 5_000, most = 20_000 } = options;
    this.#storage = storage;
    this.#log = log;
    this.#clock = clock;
    this.#flushMillis = flushMillis;
    this.#early = Math.ceil(most / 2);
    this.#tally = new UsageTally(most);
  }

  /** Never throws, and never waits. Where there are too many secrets at once, uses of further ones are lost. */
  count(secret: HeldSecret, use: { readonly isAllowed: boolean; readonly clientAddress: string }): void {
    if (!this.#tally.add(secret, use, this.#clock())) {
      if (this.#lost === 0) {
        this.#log.error("too many keys are in use to count them all: uses are lost");
      }
      this.#lost++;
    }
    this.#schedule();
  }

  /** Writes down what was counted so far. A failure is logged, and it is tried again later. */
  async flush(): Promise<void> {
    // One at a time. What began before this call may have left out the latest uses.
    await this.#flushing;
    await this.#begin();
  }

  /** Writes down the last uses, after the last call. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.flush();
    if (this.#tally.size > 0) {
      this.#log.error({ secrets: this.#tally.size }, "the last uses of keys are lost");
    }
  }

  #schedule(): void {
    if (this.#isClosed || this.#flushing !== undefined || this.#tally.size === 0) {
      return;
    }
    if (this.#tally.size >= this.#early && !this.#isFailing) {
      void this.#begin();
    } else {
      this.#timer ??= setTimeout(() => void this.#begin(), this.#flushMillis).unref();
    }
  }

  #begin(): Promise<void> {
    this.#flushing ??= this.#write().finally(() => {
      this.#flushing = undefined;
      this.#schedule();
    });
    return this.#flushing;
  }

  async #write(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const taken = this.#tally.take();
    if (taken.length === 0) {
      return;
    }
    try {
      await writeUsage(this.#storage, taken);
    } catch (error) {
      this.#tally.putBack(taken);
      if (!this.#isFailing) {
        this.#log.warn({ err: error }, "the uses of keys could not be written down; they are kept");
      }
      this.#isFailing = true;
      return;
    }
    this.#isFailing = false;
    this.#tellLost();
    await this.#forget();
  }

  #tellLost(): void {
    if (this.#lost > 0) {
      this.#log.error({ uses: this.#lost }, "uses of keys were lost: too many keys were in use");
      this.#lost = 0;
    }
  }

  async #forget(): Promise<void> {
    const now = performance.now();
    if (this.#isClosed || now < this.#forgetAt) {
      return;
    }
    try {
      const isMore = await forgetOldUsage(this.#storage);
      this.#forgetAt = isMore ? now : now + FORGET_MILLIS;
    } catch (error) {
      this.#log.warn({ err: error }, "old uses of keys could not be deleted");
      this.#forgetAt = now + FORGET_MILLIS;
    }
  }
}
