import type { EntityManager } from "@mikro-orm/postgresql";
import { SignJWT } from "jose";
import { v4 as uuidv4 } from "uuid";
import type { SigningKeys } from "../signing-key/signing-keys.ts";

/** RFC 9068 section 2.2 asks for a client; people log in to Latchkey itself. */
const CLIENT_ID = "latchkey";

export interface IssuedToken {
  readonly accessToken: string;
  readonly expireTime: Date;
  readonly user: { readonly id: string; readonly email: string; readonly role: string };
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
  readonly organizationId: string;
  readonly role: string;
  readonly issueTime: Date;
  readonly expireTime: Date;
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
  token: TokenToSign,
): Promise<string> {
  const { kid, algorithm: alg, privateKey } = await signingKeys.readSigner(em);
  const { sessionId: sid, organizationId: org, role } = token;
  return await new SignJWT({ sid, org, role, client_id: CLIENT_ID })
    .setProtectedHeader({ alg, typ: "at+jwt", kid })
    .setIssuer(issuer)
    .setAudience(audience)
    .setSubject(token.subject)
    .setJti(uuidv4())
    .setIssuedAt(token.issueTime)
    .setExpirationTime(token.expireTime)
    .sign(privateKey);
}
