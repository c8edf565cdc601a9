import { type CallOrigin, runCall, runningCall } from "../storage/running-call.ts";

/** Does the work of one call: whatever it changes is recorded with where the call came from. */
export function runFrom<Result>(origin: CallOrigin, work: () => Result): Result {
  return runCall({ ...runningCall(), origin }, work);
}

/** Of the call on whose behalf the running code works. Undefined: it works of its own accord. */
export function callOrigin(): CallOrigin | undefined {
  return runningCall()?.origin;
}
