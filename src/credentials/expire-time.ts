import { AuthError } from "../errors.ts";

const MOST_NANOS = 999_999_999;

/**
 * The moment that a message names as the end of a key; to the millisecond, never later than asked.
 *
 * @param timestamp undefined: never.
 * @throws AuthError REQUEST_INVALID where its nanoseconds are none (google.protobuf.Timestamp allows 0 to
 * 999,999,999, and the rules beside the field look at the seconds).
 */
export function expireTimeOf(
  timestamp: { readonly seconds: bigint; readonly nanos: number } | undefined,
): Date | undefined {
  if (timestamp === undefined) {
    return undefined;
  }
  const { seconds, nanos } = timestamp;
  if (nanos < 0 || nanos > MOST_NANOS) {
    throw new AuthError("REQUEST_INVALID", { message: "expire_time: nanos are from 0 to 999,999,999." });
  }
  return new Date(Number(seconds) * 1000 + Math.floor(nanos / 1e6));
}
