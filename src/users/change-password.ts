import { raw } from "@mikro-orm/core";
import { mutate } from "../changes/mutate.ts";
import { Session } from "../credentials/access-token/session-entity.ts";
import { AuthError } from "../errors.ts";
import { type LoginParts, logIn } from "./login.ts";
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
 * person is told only to whoever knew the password.
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
  const login = await logIn(parts, { ...asked, password: asked.currentPassword });
  const { userId, email, passwordHash: before } = login;
  const names = login.memberships.flatMap((row) => [row.displayName, row.organizationName]);
  parts.passwordPolicy.requireStrength(asked.newPassword, { email, names });
  const passwordHash = await parts.passwordHasher.hash(asked.newPassword);
  await mutate(parts.storage, { type: "user", id: userId }, async (em) => {
    // Of two changes at the same time, the second had an old password.
    const changed = await em.nativeUpdate(
      User,
      { id: userId, passwordHash: before },
      { passwordHash, passwordExpireTime: null },
    );
    if (changed === 0) {
      throw new AuthError("LOGIN_FAILED");
    }
    if (!asked.keepSessions) {
      await em.nativeUpdate(Session, { userId, revokeTime: null }, { revokeTime: raw("now()") });
    }
    // Of a password nothing is recorded but that it is another one now.
    const detail = { before: {}, after: { keptSessions: asked.keepSessions } };
    const event = { action: "user.change_password", targetId: userId, detail };
    return { result: undefined, event, tags: [`user:${userId}`] };
  });
}
