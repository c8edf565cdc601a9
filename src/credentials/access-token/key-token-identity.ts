import type { Identity } from "../../authenticate/decision.ts";
import type { KeyTokenState } from "../../authenticate/live-state.ts";
import type { Trace } from "../../authenticate/trace.ts";
import { AuthError } from "../../errors.ts";
import { narrow, shared } from "../../permissions/rights.ts";
import { identityOf } from "../api-key/api-key-scheme.ts";
import { requireCallersOwn } from "../live-key.ts";
import type { SchemeContext } from "../scheme.ts";
import { serviceIdentityOf } from "../service-key/service-key-scheme.ts";
import { memberRights } from "./member-rights.ts";
import type { ReadKeyToken } from "./read-token.ts";

/**
 * Who a token stands for that was got with a key. Whatever binds the key binds the token: its end, its revocation,
 * the end of the secret that was presented, its owner, its addresses, its rate limit, and what it may do now. A
 * use of the token is a use of that secret.
 */
export function keyTokenIdentityOf({ claims, state }: ReadKeyToken, context: SchemeContext): Identity {
  const { session, key } = state;
  const { trace } = context;
  const { lookupId, displayPrefix } = key.secret;
  const type = state.kind === "api_key" ? "api_key" : "service_key";
  // What is in no slot has no uses of its own.
  if (displayPrefix !== "") {
    trace.holds({ type, keyId: key.id, lookupId, displayPrefix });
  }
  trace.names({
    principal: { type: state.kind === "api_key" ? "api_key" : "service", id: key.id },
    organizationId: key.organization?.id,
    credentialId: session.id,
  });
  if (key.organization !== undefined) {
    requireCallersOwn(key.organization, context);
  }
  const whole =
    state.kind === "api_key"
      ? identityOf(state.key, trace)
      : // What is bound to an organization that is gone does not act for all of them.
        serviceIdentityOf(state.key, session.organizationId ?? context.organizationId, trace);
  const { principal } = whole;
  const identity = state.kind === "delegation" ? onBehalf(state, whole, trace) : whole;
  requireSession(state, trace);
  const ends = [claims.expireMillis, session.expireTime, whole.credential.expireTime ?? Infinity];
  const grantee = state.kind === "api_key" ? "api-key" : "service-key";
  return {
    ...identity,
    ...narrow(identity, session.permissions, grantee, identity.catalogue),
    parentKey: {
      type: state.kind === "api_key" ? "api_key" : "service",
      id: principal.id,
      displayName: principal.displayName,
    },
    credential: {
      id: session.id,
      type: "access_token",
      expireTime: new Date(Math.min(...ends.map(Number))),
    },
  };
}

/** A service that acts for a user: what both may do, by names alone. It is not what they are in their role. */
function onBehalf(
  state: KeyTokenState & { readonly kind: "delegation" },
  service: Identity,
  trace: Trace,
): Identity {
  const { user } = state;
  trace.check("user", () => "a member who is not disabled");
  if (!user.active) {
    throw new AuthError("USER_DISABLED");
  }
  return {
    ...service,
    ...shared(service, memberRights(state, service.catalogue)),
    principal: { id: user.id, type: "user", displayName: user.displayName, email: user.email, role: "" },
    owner: { userId: user.id },
  };
}

function requireSession({ session, key }: KeyTokenState, trace: Trace): void {
  trace.check("session", () => `it ends at ${session.expireTime.toISOString()}`);
  if (session.revokeTime !== undefined) {
    throw new AuthError("TOKEN_REVOKED");
  }
  if (session.expireTime <= key.now) {
    throw new AuthError("TOKEN_EXPIRED");
  }
}
