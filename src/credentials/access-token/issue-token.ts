import type { EntityManager } from "@mikro-orm/postgresql";
import type { SessionMoment } from "./begin-session.ts";
import { tokenEnd } from "./lifetimes.ts";
import { type IssuedToken, type SignTokenParts, signToken } from "./sign-token.ts";

/** Whom a token is for. */
export interface TokenHolder {
  readonly userId: string;
  readonly email: string;
  readonly organizationId: string;
  readonly role: string;
}

/** Issues an access token for a session that is begun or goes on, to somebody who is good for it: see signToken(). */
export async function issueToken(
  em: EntityManager,
  parts: SignTokenParts,
  moment: SessionMoment,
  { userId, email, organizationId, role }: TokenHolder,
): Promise<IssuedToken> {
  const { sessionId, issueTime, refreshToken, refreshTokenExpireTime } = moment;
  const expireTime = tokenEnd(issueTime, moment.expireTime);
  const accessToken = await signToken(em, parts, {
    subject: userId,
    sessionId,
    organizationId,
    role,
    issueTime,
    expireTime,
  });
  return {
    accessToken,
    expireTime,
    refresh: { token: refreshToken, expireTime: refreshTokenExpireTime },
    user: { id: userId, email, role },
  };
}
