import { LockMode } from "@mikro-orm/core";
import { v7 as uuidv7 } from "uuid";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import { type AskedLogin, type LoginMembership, type LoginParts, logIn } from "../../users/login.ts";
import { ACTIVE_MEMBER, Membership } from "../../users/membership-entity.ts";
import { User } from "../../users/user-entity.ts";
import { Session } from "./session-entity.ts";
import { type IssuedToken, type SignTokenParts, signToken } from "./sign-token.ts";

const LIFETIME_SECONDS = 24 * 60 * 60;

export interface PasswordGrantParts extends LoginParts, SignTokenParts {}

export interface PasswordLogin extends AskedLogin {
  /** Empty: the user's only one. */
  readonly organizationId: string;
}

/**
 * Logs a person in by email and password, and issues an access token (RFC 9068). What is wrong besides the
 * email and the password is told only to whoever knew the password.
 *
 * @throws AuthError LOGIN_FAILED, LOGIN_THROTTLED, PASSWORD_HASHING_BUSY, ORGANIZATION_REQUIRED,
 * ORGANIZATION_SUSPENDED
 */
export async function grantByPassword(
  parts: PasswordGrantParts,
  asked: PasswordLogin,
  triesLeft = 1,
): Promise<IssuedToken> {
  const { storage, passwordHasher } = parts;
  const login = await logIn(parts, asked);
  const { userId } = login;
  const { organizationId, role } = chooseOrganization(login.memberships, asked.organizationId);

  const rehashed = passwordHasher.isOutdated(login.passwordHash)
    ? await passwordHasher.hash(asked.password)
    : undefined;
  const session = await mutate(storage, { type: "user", id: userId }, async (em) => {
    // What was checked must still be the password. From here on a change of it waits for the new one,
    // and then ends it.
    const { passwordHash } = login;
    const lockMode = LockMode.PESSIMISTIC_WRITE;
    const user = await em.findOne(User, { id: userId, passwordHash }, { lockMode });
    // The same holds for the membership: whoever is disabled or removed meanwhile begins nothing that would
    // still be there when they come back.
    const member = { organizationId, userId, ...ACTIVE_MEMBER };
    const isActive = (await em.findOne(Membership, member, { lockMode: LockMode.PESSIMISTIC_READ })) !== null;
    if (user === null || !isActive) {
      return { result: undefined, unchanged: true };
    }
    user.passwordHash = rehashed ?? passwordHash;
    const [{ now }] = await em.execute<[{ now: number }]>("select extract(epoch from now())::float8 as now");
    const seconds = Math.floor(now);
    const created = em.create(Session, {
      id: uuidv7(),
      organizationId,
      userId,
      // Whole seconds, like the token's claims.
      createTime: new Date(seconds * 1000),
      expireTime: new Date((seconds + LIFETIME_SECONDS) * 1000),
    });
    const detail = { after: { userId, expireTime: created.expireTime } };
    const event = { organizationId, action: "session.create", targetId: created.id, detail };
    // Nothing that is cached depends on a session that is new.
    return { result: created, event, tags: [] };
  });

  if (session === undefined) {
    if (triesLeft === 0) {
      throw new AuthError("LOGIN_FAILED");
    }
    return await grantByPassword(parts, asked, triesLeft - 1);
  }

  const { createTime: issueTime, expireTime } = session;
  const accessToken = await signToken(parts, {
    subject: userId,
    sessionId: session.id,
    organizationId,
    role,
    issueTime,
    expireTime,
  });
  return { accessToken, expireTime, user: { id: userId, email: login.email, role } };
}

function chooseOrganization(memberships: readonly LoginMembership[], asked: string): LoginMembership {
  const chosen = asked === "" ? memberships : memberships.filter((row) => row.organizationId === asked);
  const [membership, ...others] = chosen;
  // Somebody else's organization, and one that does not exist, look the same.
  if (membership === undefined) {
    throw new AuthError("LOGIN_FAILED");
  }
  if (others.length > 0) {
    throw new AuthError("ORGANIZATION_REQUIRED", {
      message: "You belong to several organizations: name one in organization_id.",
      metadata: { organizations: chosen.map((row) => row.organizationId).join(" ") },
    });
  }
  if (membership.suspended) {
    throw new AuthError("ORGANIZATION_SUSPENDED");
  }
  return membership;
}
