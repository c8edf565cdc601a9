import type { EntityManager } from "@mikro-orm/postgresql";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { claimedBy, joinOrganization } from "./accept-membership.ts";
import type { Account } from "./account.ts";
import { endSessions } from "./end-sessions.ts";
import { type LoginParts, logInToChange } from "./login.ts";
import type { PasswordPolicy } from "./password-policy.ts";
import { User } from "./user-entity.ts";

export interface PasswordChange {
  readonly email: string;
  readonly currentPassword: string;
  readonly newPassword: string;
  readonly keepSessions: boolean;
  /** Of the socket's other end. */
  readonly peerAddress: string;
}

/**
 * Changes a person's password, and ends all their sessions unless they are to be kept. What would tell of the
 * person is told only to whoever knew the password. With an initial password it claims the account, and accepts the
 * membership of the organization that created it.
 *
 * @throws AuthError PASSWORD_TOO_SHORT, PASSWORD_UNCHANGED, LOGIN_FAILED, LOGIN_THROTTLED, PASSWORD_COMMON,
 * PASSWORD_CONTEXT, PASSWORD_HASHING_BUSY
 */
export async function changePassword(
  parts: LoginParts & { readonly passwordPolicy: PasswordPolicy },
  asked: PasswordChange,
): Promise<void> {
  parts.passwordPolicy.requireLength(asked.newPassword);
  if (asked.newPassword.normalize("NFKC") === asked.currentPassword.normalize("NFKC")) {
    throw new AuthError("PASSWORD_UNCHANGED");
  }
  const account = await logInToChange(parts, { ...asked, password: asked.currentPassword });
  const { userId, email, passwordHash: before } = account;
  const memberships = account.isClaimed ? account.active : [...account.active, ...account.pending];
  const names = memberships.flatMap((row) => [row.displayName, row.organizationName]);
  parts.passwordPolicy.requireStrength(asked.newPassword, { email, names });
  const passwordHash = await parts.passwordHasher.hash(asked.newPassword);
  await mutate(parts.storage, { type: "user", id: userId }, async (em) => {
    // Of two changes at the same time, the second had an old password.
    const changed = await em.nativeUpdate(
      User,
      { id: userId, passwordHash: before },
      claimedBy(passwordHash),
    );
    if (changed === 0) {
      throw new AuthError("LOGIN_FAILED");
    }
    if (!account.isClaimed) {
      await joinHome(parts.storage, em, account);
    }
    if (!asked.keepSessions) {
      await endSessions(em, undefined, userId);
    }
    // Of a password nothing is recorded but that it is another one now.
    const detail = { before: {}, after: { keptSessions: asked.keepSessions } };
    const event = { action: "user.change_password", targetId: userId, detail };
    return { result: undefined, event, tags: [`user:${userId}`] };
  });
}

/** The organization that has told somebody the initial password has meant the person to be a member. */
async function joinHome(storage: Storage, unit: EntityManager, account: Account): Promise<void> {
  const { userId, homeOrganizationId: organizationId } = account;
  // It is on that organization's record, while the password is the person's own.
  await mutate({ ...storage, fork: () => unit }, { type: "user", id: userId }, async (em) => {
    if (
      organizationId === undefined ||
      !(await joinOrganization(em, { organizationId, userId }, undefined))
    ) {
      throw new AuthError("LOGIN_FAILED");
    }
    const event = {
      organizationId,
      action: "membership.accept",
      targetId: userId,
      detail: { before: { pending: true }, after: { pending: false }, claimed: true },
    };
    return { result: undefined, event, tags: [`user:${userId}`] };
  });
}
