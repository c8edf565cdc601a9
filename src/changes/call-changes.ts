import { AsyncLocalStorage } from "node:async_hooks";

const running = new AsyncLocalStorage<string[]>();

/**
 * Does the work of one call.
 *
 * @param xids where the transactions are noted in which it changes something that answers depend on.
 */
export function runNoting<Result>(xids: string[], work: () => Result): Result {
  return running.run(xids, work);
}

/** Notes what the running call has changed, if anybody wants to know. */
export function noteChange(xid: string): void {
  running.getStore()?.push(xid);
}
