import type { Identity } from "../../authenticate/decision.ts";
import type { Trace } from "../../authenticate/trace.ts";
import { AuthError } from "../../errors.ts";
import { requireCallersOwn } from "../live-key.ts";
import type { Scheme } from "../scheme.ts";
import { keyTokenIdentityOf } from "./key-token-identity.ts";
import { memberRights } from "./member-rights.ts";
import { type ReadToken, type ReadTokenParts, readKeyToken, readToken } from "./read-token.ts";
import { outlineToken } from "./verify-token.ts";

/**
 * `Authorization: Bearer eyJ…`: a person, by a token that is good for as long as its session is; or a key, or a
 * service on somebody's behalf, by a token that was got with the key.
 */
export function accessTokenScheme(parts: ReadTokenParts & { readonly defaultAudience: string }): Scheme {
  return {
    async identify({ kind, text }, context) {
      const { organizationId, trace } = context;
      if (kind !== "bearer") {
        return undefined;
      }
      trace.check("token", () => "its form, its signature, its claims and its session");
      const audience = context.audience === "" ? parts.defaultAudience : context.audience;
      const outline = outlineToken(text);
      if (outline !== undefined && outline.kind !== "login") {
        const asked = { audience, organizationId };
        return keyTokenIdentityOf(await readKeyToken(parts, text, asked, outline), context);
      }
      const token = await readToken(parts, text, audience, outline);
      const { session } = token;
      trace.names({
        principal: { type: "user", id: session.user.id },
        organizationId: session.organization.id,
        credentialId: session.id,
      });
      requireCallersOwn(session.organization, context);
      return identityOf(token, trace);
    },
  };
}

function identityOf({ claims, session }: ReadToken, trace: Trace): Identity {
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
  return {
    principal: {
      id: user.id,
      type: "user",
      displayName: user.displayName,
      email: user.email,
      role: role.name,
    },
    credential: {
      id: session.id,
      type: "access_token",
      expireTime: new Date(Math.min(claims.expireMillis, session.expireTime.getTime())),
    },
    organization: session.organization,
    parentKey: undefined,
    owner: { userId: user.id },
    ...memberRights(session, catalogue),
    catalogue,
    allowedCidrs: [],
    secretId: undefined,
    secretMakers: [],
    rateLimit: undefined,
  };
}
