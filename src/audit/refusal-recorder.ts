import type { Logger } from "pino";
import type { Storage } from "../storage/open-storage.ts";
import { type AuthoredEvent, eventRows, insertEvents } from "./audit-event.ts";
import { type Refusal, type RefusalGroup, RefusalTally } from "./refusal-tally.ts";

const FLUSH_MILLIS = 5_000;
const INSERT = insertEvents("$1", "$2");

export interface RefusalRecorderOptions {
  readonly storage: Storage;
  readonly log: Logger;
  /** Wall time, in milliseconds. */
  readonly clock?: () => number;
  /** How long refusals wait to be written down. */
  readonly flushMillis?: number | undefined;
}

/**
 * Records the calls that are refused, as events that say how many there were of each kind. They are counted in memory
 * and written down every few seconds, beside the calls: to be refused is not to make anybody wait.
 *
 * What cannot be written is counted on with what comes. A process that is killed loses its last few seconds.
 */
export class RefusalRecorder {
  readonly #storage: Storage;
  readonly #log: Logger;
  readonly #clock: () => number;
  readonly #flushMillis: number;
  readonly #tally = new RefusalTally();
  /** What could not be written yet. */
  #unwritten: readonly RefusalGroup[] = [];
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;
  #isFailing = false;
  #isClosed = false;

  constructor({ storage, log, clock = Date.now, flushMillis = FLUSH_MILLIS }: RefusalRecorderOptions) {
    this.#storage = storage;
    this.#log = log;
    this.#clock = clock;
    this.#flushMillis = flushMillis;
  }

  /** Never throws, and never waits. */
  note(refusal: Refusal): void {
    this.#tally.add(refusal, this.#clock());
    this.#schedule();
  }

  /** Writes down the last refusals, after the last call. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#flushing;
    await this.#write(true);
    if (this.#unwritten.length > 0) {
      this.#log.error({ groups: this.#unwritten.length }, "the last refusals are not in the audit record");
    }
  }

  #schedule(): void {
    const isIdle = this.#tally.size === 0 && this.#unwritten.length === 0;
    if (!this.#isClosed && !isIdle && this.#flushing === undefined) {
      this.#timer ??= setTimeout(() => this.#begin(), this.#flushMillis).unref();
    }
  }

  #begin(): void {
    this.#timer = undefined;
    this.#flushing = this.#write(false).finally(() => {
      this.#flushing = undefined;
      this.#schedule();
    });
  }

  async #write(everything: boolean): Promise<void> {
    // While it fails nothing is taken out, so that what waits does not grow.
    const groups =
      this.#unwritten.length > 0 && !everything
        ? this.#unwritten
        : [...this.#unwritten, ...this.#tally.take(this.#clock(), everything)];
    if (groups.length === 0) {
      return;
    }
    try {
      await this.#storage.inBackground("record refusals", INSERT, [
        ...eventRows(groups.map(eventOf), undefined),
      ]);
      this.#unwritten = [];
      this.#isFailing = false;
    } catch (error) {
      this.#unwritten = groups;
      if (!this.#isFailing) {
        this.#log.warn({ err: error }, "refusals could not be recorded; they are kept");
      }
      this.#isFailing = true;
    }
  }
}

function eventOf(group: RefusalGroup): AuthoredEvent {
  const { principal, credentialId, callerId, addresses, moreAddresses } = group;
  const timeOf = (millis: number) => new Date(millis).toISOString();
  return {
    author: principal ?? { type: "anonymous", id: "" },
    event: {
      organizationId: group.organizationId,
      action: group.action || "calls.refused",
      targetId: group.method,
      detail: {
        ...(group.reason !== "" && { reason: group.reason }),
        ...(credentialId !== undefined && { credentialId }),
        ...(callerId !== undefined && { callerId }),
        count: group.count,
        firstTime: timeOf(group.firstMillis),
        lastTime: timeOf(group.lastMillis),
        samples: group.samples.map(({ millis, requestId }) => ({ time: timeOf(millis), requestId })),
      },
      ...(addresses.size > 0 && {
        personal: {
          userId: principal?.type === "user" ? principal.id : undefined,
          data: { addresses: [...addresses], ...(moreAddresses && { moreAddresses }) },
        },
      }),
    },
  };
}
