import { LockMode, raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { mutate } from "../changes/mutate.ts";
import type { KeyHasher } from "../credentials/key-digest.ts";
import { AuthError } from "../errors.ts";
import type { Account, PendingMembership } from "./account.ts";
import { invitedBy } from "./invitation.ts";
import { type AskedLogin, type LoginParts, prove } from "./login.ts";
import { MEMBER, Membership, NO_INVITATION } from "./membership-entity.ts";
import type { PasswordPolicy } from "./password-policy.ts";
import { User } from "./user-entity.ts";

export interface AcceptMembershipParts extends LoginParts {
  readonly keyHasher: KeyHasher;
  readonly passwordPolicy: PasswordPolicy;
}

export interface Acceptance extends AskedLogin {
  readonly invitation: string;
}

/**
 * Accepts a membership by its invitation. An account that was claimed needs its password besides: whoever created it
 * may not be who is invited, and whoever invites may not be who it belongs to. One that was not gets the password.
 *
 * @returns the id of the organization.
 * @throws AuthError LOGIN_FAILED, LOGIN_THROTTLED, PASSWORD_HASHING_BUSY, and to whoever proved that it is for them
 * PASSWORD_CHANGE_REQUIRED, ORGANIZATION_SUSPENDED, PASSWORD_TOO_SHORT, PASSWORD_COMMON, PASSWORD_CONTEXT.
 */
export async function acceptMembership(parts: AcceptMembershipParts, asked: Acceptance): Promise<string> {
  const invitedTo = (account: Account) => invitedBy(asked.invitation, account, parts.keyHasher);
  const account = await prove(parts, asked, {
    hashOf: (known) => (known.isClaimed && invitedTo(known) !== undefined ? known.passwordHash : undefined),
    holds: (known, right) =>
      invitedTo(known) !== undefined && (!known.isClaimed || (right && !known.hasPasswordEnded)),
  });
  const membership = invitedTo(account);
  if (membership === undefined) {
    throw new Error("an invitation was right that there is not");
  }
  if (account.isClaimed && account.isPasswordChangeRequired) {
    throw new AuthError("PASSWORD_CHANGE_REQUIRED");
  }
  if (membership.suspended) {
    throw new AuthError("ORGANIZATION_SUSPENDED");
  }
  const chosen = account.isClaimed ? undefined : await hashChosen(parts, asked.password, account, membership);
  await accept(parts, account, membership, chosen);
  return membership.organizationId;
}

async function hashChosen(
  { passwordPolicy, passwordHasher }: AcceptMembershipParts,
  password: string,
  { email }: Account,
  { displayName, organizationName }: PendingMembership,
): Promise<string> {
  passwordPolicy.requireStrength(password, { email, names: [displayName, organizationName] });
  return await passwordHasher.hash(password);
}

async function accept(
  { storage }: LoginParts,
  account: Account,
  { organizationId, invitation }: PendingMembership,
  chosen: string | undefined,
): Promise<void> {
  const { userId, isClaimed, passwordHash } = account;
  await mutate(storage, { type: "user", id: userId }, async (em) => {
    // What was proved must still hold: of two who claim an account, the second has nothing to claim.
    const proved = isClaimed ? { passwordHash: passwordHash ?? null } : { claimTime: null, deleteTime: null };
    const lockMode = LockMode.PESSIMISTIC_WRITE;
    const isHeld = (await em.findOne(User, { id: userId, ...proved }, { lockMode })) !== null;
    const lookupId = invitation?.lookupId ?? null;
    if (!isHeld || !(await joinOrganization(em, { organizationId, userId }, lookupId))) {
      throw new AuthError("LOGIN_FAILED");
    }
    if (chosen !== undefined) {
      await em.nativeUpdate(User, { id: userId }, claimedBy(chosen));
    }
    const event = {
      organizationId,
      action: "membership.accept",
      targetId: userId,
      detail: { before: { pending: true }, after: { pending: false }, claimed: !isClaimed },
    };
    return { result: undefined, event, tags: [`user:${userId}`] };
  });
}

/** What becomes of an account when its owner has chosen a password. */
export function claimedBy(passwordHash: string) {
  return {
    passwordHash,
    passwordExpireTime: null,
    passwordChangeRequired: false,
    claimTime: raw("coalesce(claim_time, now())"),
  };
}

/**
 * Makes a pending membership one that counts. Whoever is disabled or removed at the same time is waited for.
 *
 * @param lookupId of the invitation that was shown; undefined where it is not by an invitation.
 * @returns false where it is pending no longer.
 */
export async function joinOrganization(
  em: EntityManager,
  of: { readonly organizationId: string; readonly userId: string },
  lookupId: string | null | undefined,
): Promise<boolean> {
  const pending = { ...of, ...MEMBER, acceptTime: null, disableTime: null };
  const invited =
    lookupId === undefined
      ? {}
      : { invitationLookupId: lookupId, invitationExpireTime: { $gt: raw("clock_timestamp()") } };
  const accepted = { acceptTime: raw("now()"), ...NO_INVITATION };
  return (await em.nativeUpdate(Membership, { ...pending, ...invited }, accepted)) > 0;
}
