/** How often a key may be used: so many times in each window. Windows begin at multiples of their length, in UTC. */
export interface RateLimit {
  readonly requests: number;
  readonly windowSeconds: number;
}

/** The limit, as the columns have it. */
export function rateLimitOf(
  requests: number | null | undefined,
  windowSeconds: number | null | undefined,
): RateLimit | undefined {
  return requests == null || windowSeconds == null ? undefined : { requests, windowSeconds };
}

/** Whether nobody who keeps to the one limit ever exceeds the other. Undefined: as often as one likes. */
export function isLimitWithin(inner: RateLimit | undefined, outer: RateLimit | undefined): boolean {
  if (inner === undefined || outer === undefined) {
    return outer === undefined;
  }
  return inner.requests * mostWindowsMet(inner.windowSeconds, outer.windowSeconds) <= outer.requests;
}

/** In how many windows of the one length a window of the other can lie: all begin at multiples of their length. */
function mostWindowsMet(length: number, ofLength: number): number {
  const latestBegin = length - greatestCommonDivisor(length, ofLength);
  return Math.ceil((latestBegin + ofLength) / length);
}

function greatestCommonDivisor(one: number, other: number): number {
  return other === 0 ? one : greatestCommonDivisor(other, one % other);
}
