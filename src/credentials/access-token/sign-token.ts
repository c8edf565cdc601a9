import type { EntityManager } from "@mikro-orm/postgresql";
import { SignJWT } from "jose";
import { v4 as uuidv4 } from "uuid";
import type { SigningKeys } from "../signing-key/signing-keys.ts";
import type { SessionKind } from "./session-entity.ts";

/** RFC 9068 section 2.2 asks for a client; people log in to Latchkey itself. */
const CLIENT_ID = "latchkey";

export interface IssuedToken {
  readonly accessToken: string;
  readonly expireTime: Date;
  /** Undefined: its session cannot be refreshed. */
  readonly refresh: { readonly token: string; readonly expireTime: Date } | undefined;
  /** The person that it speaks of. Undefined: it speaks of a key. */
  readonly user: { readonly id: string; readonly email: string; readonly role: string } | undefined;
}

export interface SignTokenParts {
  readonly signingKeys: SigningKeys;
  readonly issuer: string;
  readonly audience: string;
}

/** What a token says. Times are whole seconds. */
export interface TokenToSign {
  readonly subject: string;
  readonly sessionId: string;
  /** Undefined: an internal key that may act for each. */
  readonly organizationId: string | undefined;
  /** Of a person who acts themselves. */
  readonly role?: string;
  readonly issueTime: Date;
  readonly expireTime: Date;
  /** What the token was got with, where that was a key. */
  readonly key?: {
    readonly id: string;
    readonly kind: Exclude<SessionKind, "login">;
    /** Empty: the default one. */
    readonly audience: string;
  };
}

/**
 * Signs an access token (RFC 9068). What it says besides its session informs; live state decides.
 *
 * It is done in the unit of work that makes the session, last of all, and the token must not leave before that is
 * done: a key that is revoked meanwhile has then signed nothing that anybody has. See ReadSigner.
 */
export async function signToken(
  em: EntityManager,
  { signingKeys, issuer, audience }: SignTokenParts,
  { key, ...token }: TokenToSign,
): Promise<string> {
  const { kid, algorithm: alg, privateKey } = await signingKeys.readSigner(em);
  const { sessionId: sid, organizationId: org, role } = token;
  const gotWith = key && {
    kind: key.kind,
    client_id: key.id,
    // Who acts, besides whom it is for (RFC 8693 section 4.1).
    ...(key.kind === "delegation" && { act: { sub: key.id } }),
  };
  return await new SignJWT({ sid, org, role, client_id: CLIENT_ID, ...gotWith })
    .setProtectedHeader({ alg, typ: "at+jwt", kid })
    .setIssuer(issuer)
    .setAudience(key?.audience || audience)
    .setSubject(token.subject)
    .setJti(uuidv4())
    .setIssuedAt(token.issueTime)
    .setExpirationTime(token.expireTime)
    .sign(privateKey);
}
