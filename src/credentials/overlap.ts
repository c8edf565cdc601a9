import { AuthError } from "../errors.ts";

const MOST_NANOS = 999_999_999;

/**
 * How long a message says that an old secret works on, in milliseconds; never longer than asked.
 *
 * @throws AuthError REQUEST_INVALID where its nanoseconds are none (of a google.protobuf.Duration that is not
 * negative: 0 to 999,999,999).
 */
export function overlapMillisOf(
  duration: { readonly seconds: bigint; readonly nanos: number } | undefined,
): number {
  const { seconds, nanos } = duration ?? { seconds: 0n, nanos: -1 };
  if (nanos < 0 || nanos > MOST_NANOS) {
    throw new AuthError("REQUEST_INVALID", { message: "overlap: nanos are from 0 to 999,999,999." });
  }
  return Number(seconds) * 1000 + Math.floor(nanos / 1e6);
}
