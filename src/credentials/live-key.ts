import type { KeyState, Standing } from "../authenticate/live-state.ts";
import { type End, endedAlready, endMillis } from "../authenticate/proof.ts";
import type { Reason } from "../errors.ts";

/** When a key, and the one of its secrets that was presented, come to their ends. */
export function endsOfKey(
  { revokeTime, expireTime, secret }: Standing<KeyState>,
  reasons: { readonly revoked: Reason; readonly rotated: Reason; readonly expired: Reason },
): readonly End[] {
  return [
    {
      reason: reasons.revoked,
      atMillis: endedAlready(revokeTime !== undefined),
      step: "revocation",
      detail: () => (revokeTime === undefined ? "not revoked" : `revoked at ${shown(revokeTime)}`),
    },
    {
      reason: reasons.expired,
      atMillis: endMillis(expireTime),
      step: "expiry",
      detail: () => `the key ${endsAt(expireTime)}`,
    },
    {
      reason: reasons.rotated,
      atMillis: endMillis(secret.expireTime),
      step: "rotation",
      detail: () => `this secret ${endsAt(secret.expireTime)}`,
    },
  ];
}

/** When the first of both ends. Undefined: neither has an end. */
export function expireTimeOf({ expireTime, secret }: Standing<KeyState>): Date | undefined {
  const other = secret.expireTime;
  return expireTime === undefined || (other !== undefined && other < expireTime) ? other : expireTime;
}

/** PostgreSQL also knows `infinity`, which is no date of JavaScript's. */
function shown(time: Date): string {
  return time instanceof Date ? time.toISOString() : String(time);
}

function endsAt(time: Date | undefined): string {
  return time === undefined ? "has no end" : `ends at ${shown(time)}`;
}
