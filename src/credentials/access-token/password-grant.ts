import { LockMode } from "@mikro-orm/core";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import { holdThoseThatExist } from "../../organizations/hold-organizations.ts";
import { type AskedLogin, type LoginMembership, type LoginParts, logIn } from "../../users/login.ts";
import { ACTIVE_MEMBER, Membership } from "../../users/membership-entity.ts";
import { User } from "../../users/user-entity.ts";
import type { KeyHasher } from "../key-digest.ts";
import { beginSession } from "./begin-session.ts";
import { issueToken } from "./issue-token.ts";
import type { IssuedToken, SignTokenParts } from "./sign-token.ts";

export interface PasswordGrantParts extends LoginParts, SignTokenParts {
  readonly keyHasher: KeyHasher;
}

export interface PasswordLogin extends AskedLogin {
  /** Empty: the user's only one. */
  readonly organizationId: string;
  /** The refresh tokens are to travel in a cookie. */
  readonly browser: boolean;
}

/**
 * Logs a person in by email and password, and issues an access token (RFC 9068). What is wrong besides the
 * email and the password is told only to whoever knew the password. The session goes on by refresh tokens.
 *
 * @throws AuthError LOGIN_FAILED, LOGIN_THROTTLED, PASSWORD_HASHING_BUSY, ORGANIZATION_REQUIRED,
 * ORGANIZATION_SUSPENDED
 */
export async function grantByPassword(
  parts: PasswordGrantParts,
  asked: PasswordLogin,
  triesLeft = 1,
): Promise<IssuedToken> {
  const { storage, passwordHasher, keyHasher } = parts;
  const login = await logIn(parts, asked);
  const { userId } = login;
  const { organizationId, role } = chooseOrganization(login.memberships, asked.organizationId);

  const rehashed = passwordHasher.isOutdated(login.passwordHash)
    ? await passwordHasher.hash(asked.password)
    : undefined;
  const issued = await mutate(storage, { type: "user", id: userId }, async (em) => {
    // Before its people, as everywhere. One that is deleted meanwhile takes its memberships along.
    await holdThoseThatExist(em, new Set([organizationId]));
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
    const { browser, peerAddress: clientAddress } = asked;
    const begun = await beginSession(em, keyHasher, { organizationId, userId, browser, clientAddress });
    const event = {
      organizationId,
      action: "session.create",
      targetId: begun.sessionId,
      detail: { userId, ...(browser && { browser }) },
    };
    // Nothing that is cached depends on a session that is new.
    const result = await issueToken(em, parts, begun, { userId, email: login.email, organizationId, role });
    return { result, event, tags: [] };
  });

  if (issued === undefined) {
    if (triesLeft === 0) {
      throw new AuthError("LOGIN_FAILED");
    }
    return await grantByPassword(parts, asked, triesLeft - 1);
  }
  return issued;
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
      organizations: chosen.map(({ organizationId: id, organizationName: name }) => ({ id, name })),
    });
  }
  if (membership.suspended) {
    throw new AuthError("ORGANIZATION_SUSPENDED");
  }
  return membership;
}
