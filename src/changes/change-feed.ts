import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "pg";
import type { Logger } from "pino";
import { AuthError } from "../errors.ts";
import { runningSignal } from "../storage/cancellation.ts";
import type { Storage } from "../storage/open-storage.ts";
import { endNow } from "../storage/pooled-client.ts";
import {
  CHANGES,
  type Changes,
  type ChangesRow,
  continues,
  EVERYTHING,
  isSameHistory,
  type Position,
  readChanges,
  snapshotText,
} from "./feed-position.ts";
import { CHANNEL, type Tag } from "./mutate.ts";
import { isReached, type Revision, readRevision, writeRevision } from "./revision.ts";

const POLL_MILLIS = 1_000;
/** Between two polls, however many ask. */
const GAP_MILLIS = 5;
const RECONNECT_MILLIS = 200;
/** How long a call waits for a revision. */
const REACH_MILLIS = 2_000;

/** What has changed, as far as it is known. */
export type Heard = readonly Tag[] | typeof EVERYTHING;

/** What the changes of the database look like from this process. */
export interface Hearing {
  /** Grows with each change that is heard of, own or another's, and when everything is forgotten. */
  readonly generation: number;
  /**
   * When the last poll that succeeded was sent, by performance.now(). -Infinity: none yet, or the server behind
   * has turned out to be a standby.
   */
  readonly provenAt: number;
  /** Up to where changes are taken into account. Opaque. Empty: nothing is known. */
  readonly revision: string;
  /**
   * The database's time now, in milliseconds: as of the newest poll that succeeded, plus what has passed since on the
   * monotonic clock, counted from when the poll was sent. So it is early by as long as that took, and late by no
   * more than the clocks drift apart. Undefined: no poll has succeeded yet.
   */
  now(): number | undefined;
  /** @param listener called before anybody can read the revision that tells of the same. It must not throw. */
  onHeard(listener: (heard: Heard) => void): void;
  /**
   * Waits until what a revision tells is heard of: up to 2 seconds, and not beyond the running call's own end.
   *
   * @throws AuthError REVISION_INVALID, REVISION_UNKNOWN, UNAVAILABLE
   */
  reach(revision: string): Promise<void>;
}

/**
 * Hears of every change that an answer may depend on, by a connection of its own. An announcement is a hint, upon
 * which it asks the database at once; that it asks each second is the guarantee.
 *
 * Everything counts as changed where something may have been missed: after each loss of the connection, where there
 * is another server, another timeline or another database behind it, where the database was set back, and where
 * changes were pruned of which it had not heard.
 */
export class ChangeFeed implements Hearing {
  readonly #storage: Pick<Storage, "connect" | "renew" | "commits">;
  readonly #log: Logger;
  readonly #listeners: ((heard: Heard) => void)[] = [];
  readonly #provers = new Set<() => void>();
  readonly #closed = new AbortController();
  #running: Promise<void> | undefined;
  #client: Client | undefined;
  #wake = () => {};
  #isAsked = false;
  #isLost = false;
  /** Where the last poll that succeeded has led, also over losses of the connection. */
  #position: Position | undefined;
  #clock: { readonly millis: number; readonly at: number } | undefined;
  #generation = 0;
  #provenAt = Number.NEGATIVE_INFINITY;
  #revision = "";

  constructor(parts: {
    readonly storage: Pick<Storage, "connect" | "renew" | "commits">;
    readonly log: Logger;
  }) {
    this.#storage = parts.storage;
    this.#log = parts.log;
    this.#storage.commits.on("changed", (tags) => this.heardOwn(tags));
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#wake();
    if (this.#client !== undefined) {
      endNow(this.#client);
    }
    await this.#running;
  }

  get generation(): number {
    return this.#generation;
  }

  get provenAt(): number {
    return this.#provenAt;
  }

  get revision(): string {
    return this.#revision;
  }

  /** Which history of which database the changes are of. Undefined: it is not known yet. */
  get epoch(): string | undefined {
    return this.#position?.epoch;
  }

  /** Where it stands. Undefined: it is not known yet. */
  get position(): Position | undefined {
    return this.#position;
  }

  now(): number | undefined {
    return this.#clock && this.#clock.millis + performance.now() - this.#clock.at;
  }

  onHeard(listener: (heard: Heard) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * @param listener called after each poll that succeeded.
   * @returns what takes the listener away again.
   */
  onProven(listener: () => void): () => void {
    this.#provers.add(listener);
    return () => this.#provers.delete(listener);
  }

  /** Hears of a change of this process, before whoever made it is answered. */
  heardOwn(tags: readonly string[]): void {
    this.#hear(heardOf(tags));
  }

  async reach(text: string): Promise<void> {
    const revision = readRevision(text);
    if (this.#has(revision)) {
      return;
    }
    const begun = performance.now();
    const givenUp = runningSignal();
    const late = AbortSignal.timeout(REACH_MILLIS);
    const signal = givenUp === undefined ? late : AbortSignal.any([givenUp, late]);
    await new Promise<void>((resolve, reject) => {
      const settle = () => {
        stop();
        signal.removeEventListener("abort", giveUp);
      };
      const giveUp = () => {
        settle();
        const cause = new Error("a revision was not reached in time");
        reject(givenUp?.aborted ? givenUp.reason : new AuthError("UNAVAILABLE", { cause }));
      };
      const stop = this.onProven(() => {
        if (this.#has(revision)) {
          settle();
          resolve();
        } else if (this.#provenAt >= begun && revision.epoch !== this.epoch) {
          // Asked since: it is not that this replica has yet to notice a failover.
          settle();
          reject(new AuthError("REVISION_UNKNOWN"));
        }
      });
      signal.addEventListener("abort", giveUp, { once: true });
      if (signal.aborted) {
        giveUp();
      } else {
        this.#ask();
      }
    });
  }

  #has(revision: Revision): boolean {
    const position = this.#position;
    return (
      position !== undefined && revision.epoch === position.epoch && isReached(revision, position.snapshot)
    );
  }

  #ask(): void {
    this.#isAsked = true;
    this.#wake();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted) {
      try {
        this.#client = await this.#storage.connect("feed");
        await this.#follow(this.#client);
      } catch (error) {
        if (!this.#isLost && !signal.aborted) {
          this.#isLost = true;
          this.#log.warn(
            { err: error },
            "changes are not heard of: the database is asked again until they are",
          );
        }
      } finally {
        if (this.#client !== undefined) {
          endNow(this.#client);
        }
        this.#client = undefined;
      }
      await delay(RECONNECT_MILLIS, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** Hears of changes by one connection, until it breaks or the end. */
  async #follow(client: Client): Promise<void> {
    const broken = new Promise<never>((_, reject) => {
      client.on("error", reject);
      client.on("end", () => reject(new Error("the connection has ended")));
    });
    broken.catch(() => {});
    client.on("notification", () => this.#ask());
    await client.query(`listen ${CHANNEL}`);
    let before: Position | undefined;
    while (!this.#closed.signal.aborted) {
      // Whoever asks from here on asks for the next one.
      this.#isAsked = false;
      const sentAt = performance.now();
      const values = [before && snapshotText(before.snapshot), null];
      const { rows } = await client.query<ChangesRow>({ name: "changes", text: CHANGES, values });
      const changes = readChanges(rows[0]);
      this.#take(before, changes, sentAt);
      before = changes.position;
      await Promise.race([this.#untilAsked(sentAt + POLL_MILLIS), broken]);
      const gap = sentAt + GAP_MILLIS - performance.now();
      if (gap > 0) {
        await delay(gap);
      }
    }
  }

  /**
   * @param before where this connection stood. Undefined: this is its first poll.
   * @param sentAt monotonic time, in milliseconds.
   */
  #take(before: Position | undefined, { position, tags, millis }: Changes, sentAt: number): void {
    if (position.isStandby) {
      this.#provenAt = Number.NEGATIVE_INFINITY;
      throw new Error("the server is a standby");
    }
    const isOther = this.#position !== undefined && !isSameHistory(this.#position, position);
    if (isOther) {
      this.#log.warn(
        "another server or another history of the database is behind: all connections are renewed",
      );
      this.#storage.renew();
    }
    if (before === undefined || !continues(before, position)) {
      this.#hear(EVERYTHING);
    } else if (tags.length > 0) {
      this.#hear(heardOf(tags));
    }
    this.#position = position;
    this.#revision = writeRevision(position);
    this.#provenAt = sentAt;
    this.#clock = { millis, at: sentAt };
    if (this.#isLost) {
      this.#isLost = false;
      this.#log.info("changes are heard of again");
    }
    for (const prover of this.#provers) {
      prover();
    }
  }

  #hear(heard: Heard): void {
    this.#generation++;
    for (const listener of this.#listeners) {
      listener(heard);
    }
  }

  /** @param at monotonic time, in milliseconds: no longer than until then. */
  #untilAsked(at: number): Promise<void> {
    if (this.#isAsked || this.#closed.signal.aborted) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, at - performance.now())).unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** What tags tell that somebody has written down: mutate(), or whoever changes rows by hand. */
function heardOf(tags: readonly string[]): Heard {
  return tags.includes(EVERYTHING) ? EVERYTHING : (tags as readonly Tag[]);
}
