import { AsyncLocalStorage } from "node:async_hooks";

/** Where a call comes from, for the record. */
export interface CallOrigin {
  /** Of the socket's other end. Empty: unknown. */
  readonly address: string;
  /** What the call is known by, in the log and to its caller. */
  readonly requestId: string;
}

/** The call on whose behalf code runs. */
export interface RunningCall {
  readonly origin?: CallOrigin | undefined;
  /** Aborted when the call is given up. Undefined: nobody can. */
  readonly signal?: AbortSignal | undefined;
}

const running = new AsyncLocalStorage<RunningCall>();

/** Does the work of one call. */
export function runCall<Result>(call: RunningCall, work: () => Result): Result {
  return running.run(call, work);
}

/** Undefined: the running code works of its own accord. */
export function runningCall(): RunningCall | undefined {
  return running.getStore();
}
