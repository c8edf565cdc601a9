import { TransactionPropagation } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Storage } from "../storage/open-storage.ts";
import { isRefusal } from "../storage/storage-error.ts";
import { noteChange } from "./call-changes.ts";

/** What one transaction has changed so far that answers depend on. */
export interface UnitOfWork {
  readonly em: EntityManager;
  readonly tags: string[];
  /** The number of the transaction, once there are tags. */
  xid: string | undefined;
}

const open = new WeakMap<object, UnitOfWork>();

/**
 * Does work in one transaction. What it has changed is told to this process once it is committed, and before
 * whoever began it goes on. Where the storage's unit of work is such a transaction already, the work is a part of
 * that one, and it is that one's end which counts.
 */
export async function inUnitOfWork<Result>(
  storage: Storage,
  work: (unit: UnitOfWork) => Promise<Result>,
): Promise<Result> {
  const em = storage.fork();
  if (em.isInTransaction()) {
    return await work(unitOf(em));
  }
  let unit: UnitOfWork | undefined;
  let mayBeCommitted = false;
  const tell = () => {
    if (unit?.xid !== undefined) {
      noteChange(unit.xid);
      storage.commits.emit("changed", unit.tags);
    }
  };
  try {
    const transaction = async (tx: EntityManager) => {
      unit = { em: tx, tags: [], xid: undefined };
      open.set(contextOf(tx), unit);
      const result = await work(unit);
      mayBeCommitted = true;
      return result;
    };
    const result = await em.transactional(transaction, { propagation: TransactionPropagation.REQUIRED });
    tell();
    return result;
  } catch (error) {
    // Whoever loses the connection at the end does not know which it was.
    if (mayBeCommitted && !isRefusal(error)) {
      tell();
    }
    throw error;
  }
}

function unitOf(em: EntityManager): UnitOfWork {
  const unit = open.get(contextOf(em));
  if (unit === undefined) {
    throw new Error("nobody would be told of a change in a transaction that is no unit of work");
  }
  return unit;
}

function contextOf(em: EntityManager): object {
  const context: object | undefined = em.getTransactionContext();
  if (context === undefined) {
    throw new Error("a transaction has a context");
  }
  return context;
}
