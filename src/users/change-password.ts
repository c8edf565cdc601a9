import { raw } from "@mikro-orm/core";
import { mutate } from "../changes/mutate.ts";
import { Session } from "../credentials/access-token/session-entity.ts";
import { AuthError } from "../errors.ts";
import { type LoginParts, logIn } from "./login.ts";
import { User } from "./user-entity.ts";

export interface PasswordChange {
  readonly email: string;
  readonly currentPassword: string;
  readonly newPassword: string;
  /** Of the socket's other end. */
  readonly peerAddress: string;
}

/**
 * Changes a person's password, and ends all their sessions.
 *
 * @throws AuthError PASSWORD_TOO_SHORT, PASSWORD_UNCHANGED, LOGIN_FAILED, LOGIN_THROTTLED,
 * PASSWORD_HASHING_BUSY
 */
export async function changePassword(parts: LoginParts, asked: PasswordChange): Promise<void> {
  parts.passwordHasher.requireStrength(asked.newPassword);
  if (asked.newPassword.normalize("NFKC") === asked.currentPassword.normalize("NFKC")) {
    throw new AuthError("PASSWORD_UNCHANGED");
  }
  const { userId, passwordHash: before } = await logIn(parts, {
    ...asked,
    password: asked.currentPassword,
  });
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
    await em.nativeUpdate(Session, { userId, revokeTime: null }, { revokeTime: raw("now()") });
    const event = { action: "user.change_password", targetId: userId, detail: {} };
    return { result: undefined, event, tags: [`user:${userId}`] };
  });
}
