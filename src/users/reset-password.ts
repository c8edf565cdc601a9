import { raw } from "@mikro-orm/core";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { endSessions } from "./end-sessions.ts";
import { lockMembers } from "./lock-members.ts";
import { holdAccount, lockAccounts, requireManaged, requireNoMoreRights } from "./managed-account.ts";
import type { PasswordHasher } from "./password.ts";
import type { PasswordPolicy } from "./password-policy.ts";
import { getUser } from "./read-users.ts";
import { User } from "./user-entity.ts";

/** An interval of PostgreSQL. */
const ONE_TIME_FOR = "24 hours";

export interface OneTimePassword {
  readonly text: string;
  readonly expireTime: Date;
}

/**
 * Replaces a user's password by a one-time one, which nobody chooses, and ends all their sessions.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, NOT_FOUND, ACCOUNT_NOT_MANAGED, PERMISSION_NOT_HELD, OWNER_REQUIRED,
 * PASSWORD_HASHING_BUSY, and what holdActor() throws.
 */
export async function resetPassword(
  parts: {
    readonly storage: Storage;
    readonly passwordHasher: PasswordHasher;
    readonly passwordPolicy: PasswordPolicy;
  },
  actor: Actor,
  id: string,
): Promise<OneTimePassword> {
  const organizationId = oneOrganization(actor);
  requireNotOneself(actor, id);
  // Nothing is hashed for whom there is not.
  await getUser(parts.storage, actor, id);
  const text = parts.passwordPolicy.generate();
  const passwordHash = await parts.passwordHasher.hash(text);
  return await mutate(parts.storage, authorOf(actor), async (em) => {
    await lockAccounts(em);
    await lockMembers(em, organizationId);
    await holdActor(em, actor);
    const account = await holdAccount(em, actor, id);
    await requireManaged(em, actor, account);
    await requireNoMoreRights(em, actor, account);
    const passwordExpireTime = raw(`now() + interval '${ONE_TIME_FOR}'`);
    await em.nativeUpdate(User, { id }, { passwordHash, passwordExpireTime, passwordChangeRequired: true });
    await em.refresh(account.user);
    await endSessions(em, undefined, id);
    const { passwordExpireTime: expireTime } = account.user;
    if (expireTime == null) {
      throw new Error("a one-time password has an end");
    }
    const event = {
      organizationId,
      action: "user.reset_password",
      targetId: id,
      detail: { after: { passwordChangeRequired: true, passwordExpireTime: expireTime.toISOString() } },
    };
    return { result: { text, expireTime }, event, tags: [`user:${id}`] };
  });
}

/**
 * One's own password takes the present one to change: whoever got hold of a token, or of a key, is not to come by the
 * account with it.
 */
function requireNotOneself({ decision: { principal, owner } }: Actor, id: string): void {
  if (principal.id === id || ("userId" in owner && owner.userId === id)) {
    throw new AuthError("ACCOUNT_NOT_MANAGED", { message: "Change your own password by ChangePassword." });
  }
}
