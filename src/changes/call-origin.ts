import { AsyncLocalStorage } from "node:async_hooks";

/** Where a call comes from, for the record. */
export interface CallOrigin {
  /** Of the socket's other end. Empty: unknown. */
  readonly address: string;
  /** What the call is known by, in the log and to its caller. */
  readonly requestId: string;
}

const running = new AsyncLocalStorage<CallOrigin>();

/** Does the work of one call: whatever it changes is recorded with where the call came from. */
export function runFrom<Result>(origin: CallOrigin, work: () => Result): Result {
  return running.run(origin, work);
}

/** Of the call on whose behalf the running code works. Undefined: it works of its own accord. */
export function callOrigin(): CallOrigin | undefined {
  return running.getStore();
}
