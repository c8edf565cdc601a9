import { runCall, runningCall } from "./running-call.ts";

/** Does work that ends early when the signal aborts: its statements are cancelled in the database. */
export function runCancellable<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
  return runCall({ ...runningCall(), signal }, work);
}

/** The signal of the running work; undefined where nobody can give it up. */
export function runningSignal(): AbortSignal | undefined {
  return runningCall()?.signal;
}

/** @throws the signal's reason, where the running work was given up. */
export function throwIfGivenUp(): void {
  runningSignal()?.throwIfAborted();
}
