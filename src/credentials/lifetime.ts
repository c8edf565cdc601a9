import { AuthError } from "../errors.ts";

const MOST_NANOS = 999_999_999;
/** How long a token lasts that is got with a key; no longer can be asked for. */
const LONGEST_SECONDS = 3_600;

/**
 * How long a message says that a token is to last, in whole seconds; never longer than asked.
 *
 * @param duration undefined: as long as it can.
 * @throws AuthError REQUEST_INVALID where its nanoseconds are none (of a google.protobuf.Duration that is not
 * negative: 0 to 999,999,999; the rules beside the field look at the whole).
 */
export function lifetimeSecondsOf(
  duration: { readonly seconds: bigint; readonly nanos: number } | undefined,
): number {
  if (duration === undefined) {
    return LONGEST_SECONDS;
  }
  const { seconds, nanos } = duration;
  if (nanos < 0 || nanos > MOST_NANOS || seconds < 1n || seconds > LONGEST_SECONDS) {
    throw new AuthError("REQUEST_INVALID", {
      message: `lifetime: from 1 to ${LONGEST_SECONDS} seconds, and nanos from 0 to 999,999,999.`,
    });
  }
  return Number(seconds);
}
