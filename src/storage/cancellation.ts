import { AsyncLocalStorage } from "node:async_hooks";

/** The call on whose behalf the running code works, if it can be given up. */
const running = new AsyncLocalStorage<AbortSignal>();

/** Does work that ends early when the signal aborts: its statements are cancelled in the database. */
export function runCancellable<Result>(signal: AbortSignal, work: () => Result): Result {
  return running.run(signal, work);
}

/** The signal of the running work; undefined where nobody can give it up. */
export function runningSignal(): AbortSignal | undefined {
  return running.getStore();
}

/** @throws the signal's reason, where the running work was given up. */
export function throwIfGivenUp(): void {
  running.getStore()?.throwIfAborted();
}
