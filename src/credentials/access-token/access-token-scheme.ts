import type { Identity } from "../../authenticate/decision.ts";
import type { SessionState } from "../../authenticate/live-state.ts";
import type { Trace } from "../../authenticate/trace.ts";
import { AuthError } from "../../errors.ts";
import { expandPatterns } from "../../permissions/permission-pattern.ts";
import { requireCallersOwn } from "../live-key.ts";
import type { Scheme } from "../scheme.ts";
import { type ReadTokenParts, readToken } from "./read-token.ts";

/** `Authorization: Bearer eyJ…`: a person, by a token that is good for as long as its session is. */
export function accessTokenScheme(parts: ReadTokenParts & { readonly defaultAudience: string }): Scheme {
  return {
    async identify({ kind, text }, context) {
      const { audience, trace } = context;
      if (kind !== "bearer") {
        return undefined;
      }
      trace.check("token", () => "its form, its signature, its claims and its session");
      const session = await readToken(parts, text, audience === "" ? parts.defaultAudience : audience);
      trace.names({
        principal: { type: "user", id: session.user.id },
        organizationId: session.organization.id,
        credentialId: session.id,
      });
      requireCallersOwn(session.organization, context);
      return identityOf(session, trace);
    },
  };
}

function identityOf(session: SessionState, trace: Trace): Identity {
  trace.check("user", () => "a member who is not disabled");
  if (!session.user.active) {
    throw new AuthError("USER_DISABLED");
  }
  trace.check("session", () => `it ends at ${session.expireTime.toISOString()}`);
  if (session.revokeTime !== undefined) {
    throw new AuthError("TOKEN_REVOKED");
  }
  if (session.expireTime <= session.now) {
    throw new AuthError("TOKEN_EXPIRED");
  }
  const { user, role, catalogue } = session;
  const byRole = expandPatterns(role.permissions, "role", catalogue);
  const byPlatformRole = new Set(user.platformRole === "administrator" ? catalogue.platform : []);
  return {
    principal: {
      id: user.id,
      type: "user",
      displayName: user.displayName,
      email: user.email,
      role: role.name,
    },
    credential: { id: session.id, type: "access_token", expireTime: session.expireTime },
    organization: session.organization,
    owner: { userId: user.id },
    grants: role.permissions,
    permissions: byRole.union(byPlatformRole),
    catalogue,
    allowedCidrs: [],
    secretId: undefined,
    secretMakers: [],
    rateLimit: undefined,
  };
}
