import type { Logger } from "pino";
import { LOCKS } from "../storage/locks.ts";
import type { Storage } from "../storage/open-storage.ts";

const EVERY_MILLIS = 10 * 60 * 1000;
const ROWS_AT_ONCE = 1_000;
/** In one go; what is left is deleted in the next. */
const MOST_STEPS = 1_000;

/** How long a change is kept at least, whoever may still have to hear of it. */
const KEPT = "1 hour";

/**
 * The newest of the oldest changes. None is deleted that a transaction in progress could precede: the horizon says
 * that everything up to it is gone, also what becomes visible later.
 */
const NEWEST_OLD = `
  select xid::text from (
    select xid from changes
    where change_time < now() - interval '${KEPT}' and xid < pg_snapshot_xmin(pg_current_snapshot())
    order by xid limit ${ROWS_AT_ONCE}
  ) old order by old.xid desc limit 1`;

/**
 * Deletes changes that are older than an hour, and says so in the same transaction: whoever has not heard of all of
 * them finds out that they are gone.
 *
 * @returns how many were deleted. 0: there are none, or another replica is at it.
 */
export async function pruneChanges(storage: Storage): Promise<number> {
  let deleted = 0;
  for (let step = 0; step < MOST_STEPS; step++) {
    const rows = await pruneSome(storage);
    if (rows === 0) {
      break;
    }
    deleted += rows;
  }
  return deleted;
}

async function pruneSome(storage: Storage): Promise<number> {
  return await storage.inBackgroundTransaction(async (run) => {
    const [turn] = await run<{ isOurs: boolean }>('select pg_try_advisory_xact_lock($1) as "isOurs"', [
      LOCKS.pruneChanges,
    ]);
    if (turn?.isOurs !== true) {
      return 0;
    }
    const [newest] = await run<{ xid: string }>(NEWEST_OLD);
    if (newest === undefined) {
      return 0;
    }
    await run("update change_horizon set pruned_xid = greatest(pruned_xid, $1::xid8)", [newest.xid]);
    const rows = await run("delete from changes where xid <= $1::xid8 returning 1", [newest.xid]);
    return rows.length;
  });
}

/** Prunes now and then. */
export class ChangePruner {
  readonly #storage: Storage;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(parts: { readonly storage: Storage; readonly log: Logger }) {
    this.#storage = parts.storage;
    this.#log = parts.log;
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.#running ??= this.#prune();
    }, EVERY_MILLIS).unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  async #prune(): Promise<void> {
    try {
      await pruneChanges(this.#storage);
    } catch (error) {
      this.#log.warn({ err: error }, "old changes could not be deleted: it is tried again");
    } finally {
      this.#running = undefined;
    }
  }
}
