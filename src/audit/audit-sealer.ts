import type { Logger } from "pino";
import { LOCKS } from "../storage/locks.ts";
import type { RunStatement, Storage } from "../storage/open-storage.ts";
import type { AuditKeys } from "./audit-keys.ts";
import { eraseLate, HAS_COME_LATE } from "./erase-personal-data.ts";
import { type CheckpointPace, MOST_AT_ONCE, sealEvents } from "./seal-events.ts";
import { signDueCheckpoints } from "./sign-due-checkpoints.ts";

const SEAL_MILLIS = 2_000;
const PACE: CheckpointPace = { seconds: 300, events: 1_000 };

export interface AuditSealerOptions {
  readonly storage: Storage;
  readonly keys: AuditKeys;
  /** The deployment's public URL, which checkpoints name. */
  readonly issuer: string;
  readonly log: Logger;
  /** How often it is looked whether events wait. */
  readonly sealMillis?: number | undefined;
  readonly pace?: CheckpointPace | undefined;
}

const WORK = `
  select exists (select from audit_unsealed)
    or exists (select from audit_due_checkpoints where due_time <= now())
    or ${HAS_COME_LATE} as found`;

/**
 * Seals events into their chains, and signs those, beside the calls: no change waits for it. Every replica offers
 * to. A transaction at a time, one of them does: whoever gets the lock, which ends with the transaction, however that
 * ends. What one leaves undone the next one does.
 */
export class AuditSealer {
  readonly #options: AuditSealerOptions;
  readonly #pace: CheckpointPace;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #isFailing = false;
  #isClosed = false;

  constructor(options: AuditSealerOptions) {
    this.#options = options;
    this.#pace = options.pace ?? PACE;
  }

  start(): void {
    const { sealMillis = SEAL_MILLIS } = this.#options;
    if (!this.#isClosed) {
      this.#timer = setTimeout(() => void this.#tick(), sealMillis).unref();
    }
  }

  /** Seals everything that waits, unless another replica is about it, and signs what is due. */
  async seal(): Promise<void> {
    await this.#running;
    this.#running = this.#sealAll().finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#running?.catch(() => {});
  }

  async #tick(): Promise<void> {
    try {
      await this.seal();
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        this.#options.log.warn({ err: error }, "audit events could not be sealed; they wait");
      }
      this.#isFailing = true;
    } finally {
      this.start();
    }
  }

  async #sealAll(): Promise<void> {
    const { storage, keys, issuer, log } = this.#options;
    const work = await storage.inBackground<{ found: boolean }>("audit work", WORK, []);
    if (work?.found !== true) {
      return;
    }
    let sealed = MOST_AT_ONCE;
    while (sealed === MOST_AT_ONCE && !this.#isClosed) {
      sealed = await this.#alone((run) => sealEvents(run, this.#pace), 0);
    }
    await this.#alone(eraseLate, undefined);
    for (const chain of await this.#alone((run) => signDueCheckpoints(run, keys, issuer), [])) {
      log.error({ chain }, "an audit record contradicts its last checkpoint; it is not signed");
    }
  }

  /** In a transaction of its own; not at all where another replica is in one. */
  async #alone<Result>(work: (run: RunStatement) => Promise<Result>, otherwise: Result): Promise<Result> {
    return await this.#options.storage.inBackgroundTransaction(async (run) => {
      const [lock] = await run<{ taken: boolean }>("select pg_try_advisory_xact_lock($1) as taken", [
        LOCKS.auditSeal,
      ]);
      return lock?.taken === true ? await work(run) : otherwise;
    });
  }
}
