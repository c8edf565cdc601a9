import type { KeyState, Standing } from "../authenticate/live-state.ts";
import type { Trace } from "../authenticate/trace.ts";
import { AuthError, type Reason } from "../errors.ts";
import type { SchemeContext } from "./scheme.ts";

/**
 * Whoever asks for one organization learns of another's credential that it is another's, and nothing of its state.
 *
 * @throws AuthError ORGANIZATION_MISMATCH
 */
export function requireCallersOwn(
  { id }: { readonly id: string },
  { callerOrganizationId, trace }: Pick<SchemeContext, "callerOrganizationId" | "trace">,
): void {
  if (callerOrganizationId !== "" && id !== callerOrganizationId) {
    trace.check("organization", () => "the caller's own");
    throw new AuthError("ORGANIZATION_MISMATCH");
  }
}

/**
 * Checks that a key, and the one of its secrets that was presented, have not come to their end.
 *
 * @returns when the first of both does. Undefined: neither has an end.
 */
export function requireLive(
  { revokeTime, expireTime, secret, now }: Standing<KeyState>,
  trace: Trace,
  reasons: { readonly revoked: Reason; readonly rotated: Reason; readonly expired: Reason },
): Date | undefined {
  trace.check("revocation", () =>
    revokeTime === undefined ? "not revoked" : `revoked at ${shown(revokeTime)}`,
  );
  if (revokeTime !== undefined) {
    throw new AuthError(reasons.revoked);
  }
  trace.check("expiry", () => `the key ${endsAt(expireTime)}`);
  if (expireTime !== undefined && expireTime <= now) {
    throw new AuthError(reasons.expired);
  }
  trace.check("rotation", () => `this secret ${endsAt(secret.expireTime)}`);
  if (secret.expireTime !== undefined && secret.expireTime <= now) {
    throw new AuthError(reasons.rotated);
  }
  return earlier(expireTime, secret.expireTime);
}

function earlier(one: Date | undefined, other: Date | undefined): Date | undefined {
  return one === undefined || (other !== undefined && other < one) ? other : one;
}

/** PostgreSQL also knows `infinity`, which is no date of JavaScript's. */
function shown(time: Date): string {
  return time instanceof Date ? time.toISOString() : String(time);
}

function endsAt(time: Date | undefined): string {
  return time === undefined ? "has no end" : `ends at ${shown(time)}`;
}
