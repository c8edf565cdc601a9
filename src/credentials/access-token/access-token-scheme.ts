import type { Identity } from "../../authenticate/decision.ts";
import { endedAlready, type Proof } from "../../authenticate/proof.ts";
import { AuthError } from "../../errors.ts";
import type { Scheme } from "../scheme.ts";
import { proofOfKeyToken } from "./key-token-proof.ts";
import { memberRights } from "./member-rights.ts";
import { type ReadToken, type ReadTokenParts, readKeyToken, readToken } from "./read-token.ts";
import { endsOfToken } from "./token-ends.ts";
import { outlineToken } from "./verify-token.ts";

/**
 * `Authorization: Bearer eyJ…`: a person, by a token that is good for as long as its session is; or a key, or a
 * service on somebody's behalf, by a token that was got with the key.
 */
export function accessTokenScheme(parts: ReadTokenParts & { readonly defaultAudience: string }): Scheme {
  return {
    screen({ kind, text }) {
      if (kind === "bearer" && outlineToken(text) === undefined) {
        throw new AuthError("TOKEN_INVALID");
      }
      return kind === "bearer";
    },
    async prove({ kind, text }, context) {
      const { organizationId, trace } = context;
      if (kind !== "bearer") {
        return undefined;
      }
      trace.check("token", () => "its form, its signature, its claims and its session");
      const audience = context.audience === "" ? parts.defaultAudience : context.audience;
      const outline = outlineToken(text);
      if (outline !== undefined && outline.kind !== "login") {
        const asked = { audience, organizationId };
        return proofOfKeyToken(await readKeyToken(parts, text, asked, outline), organizationId);
      }
      return proofOfLogin(await readToken(parts, text, audience, outline));
    },
  };
}

function proofOfLogin(token: ReadToken): Proof {
  const { claims, session, signingKey } = token;
  const { user, role, organization } = session;
  return {
    held: undefined,
    ends: [
      {
        reason: "USER_DISABLED",
        atMillis: endedAlready(!user.active),
        step: "user",
        detail: () => "a member who is not disabled",
      },
      ...endsOfToken(claims, session, signingKey),
    ],
    identity: identityOf(token),
    tags: [
      `session:${session.id}`,
      `user:${user.id}`,
      `org:${organization.id}`,
      `role:${role.id}`,
      `signing_key:${signingKey.kid}`,
      "catalogue",
    ],
    readMillis: session.now.getTime(),
    variesByOrganization: false,
  };
}

function identityOf({ claims, session }: ReadToken): Identity {
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
