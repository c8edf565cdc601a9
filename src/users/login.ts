import { AuthError, type RefusedSubject } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { type Account, type AccountMembership, readAccount } from "./account.ts";
import { canonical } from "./canonical.ts";
import type { Admission, LoginSubject, LoginThrottle } from "./login-throttle.ts";
import type { PasswordHasher, StoredHash } from "./password.ts";

/** A person who proved who they are. */
export interface Login {
  readonly userId: string;
  readonly email: string;
  /** The hash that the password was checked against. */
  readonly passwordHash: string;
  /** Where they are active: at least one. */
  readonly memberships: readonly LoginMembership[];
}

export type LoginMembership = AccountMembership;

export interface LoginParts {
  readonly storage: Storage;
  readonly passwordHasher: PasswordHasher;
  readonly loginThrottle: LoginThrottle;
}

export interface AskedLogin {
  readonly email: string;
  readonly password: string;
  /** Of the socket's other end. */
  readonly peerAddress: string;
}

/** What makes an attempt right. */
export interface Proof {
  /** The hash to check the password against. Undefined: it is checked against none, with as much work. */
  readonly hashOf: (account: Account) => StoredHash;
  /** @param right whether the password is that of the hash. */
  readonly holds: (account: Account, right: boolean) => boolean;
}

/**
 * Checks an email address and a password, which may not be one that has to be changed first.
 *
 * @throws AuthError PASSWORD_CHANGE_REQUIRED, and what prove() throws.
 */
export async function logIn(parts: LoginParts, asked: AskedLogin): Promise<Login> {
  const account = await logInToChange(parts, asked);
  if (account.isPasswordChangeRequired) {
    throw new AuthError("PASSWORD_CHANGE_REQUIRED");
  }
  const { userId, email, passwordHash, active: memberships } = account;
  return { userId, email, passwordHash, memberships };
}

/**
 * The same for an initial and a one-time password too, with which nothing may be done but to change it.
 *
 * @throws AuthError what prove() throws.
 */
export async function logInToChange(
  parts: LoginParts,
  asked: AskedLogin,
): Promise<Account & { readonly passwordHash: string }> {
  const account = await prove(parts, asked, {
    hashOf: ({ passwordHash }) => passwordHash,
    holds: (known, right) => right && !known.hasPasswordEnded && isLetIn(known),
  });
  const { passwordHash } = account;
  if (passwordHash === undefined) {
    throw new Error("a password was right that there is not");
  }
  return { ...account, passwordHash };
}

/** Whether there is an organization where the person is active, or will be once they have changed the password. */
function isLetIn(account: Account): boolean {
  const { isPasswordChangeRequired, isClaimed, homeOrganizationId, active, pending } = account;
  // Whoever knows an initial password was told it by the organization that created the account, and by no other.
  const awaited = isClaimed ? pending : pending.filter((row) => row.organizationId === homeOrganizationId);
  return active.length > 0 || (isPasswordChangeRequired && awaited.length > 0);
}

/**
 * Checks what somebody presents in the name of an email address: the one way in, whatever is then done with it.
 *
 * Unknown email, wrong password, one-time password that has ended, disabled user, wrong invitation, too many
 * failures before: the same answer after the same work, three statements and one hash. A proof is counted as a
 * success also where what the caller wants with it is then refused.
 *
 * @throws AuthError LOGIN_FAILED, LOGIN_THROTTLED, PASSWORD_HASHING_BUSY
 */
export async function prove(parts: LoginParts, asked: AskedLogin, proof: Proof): Promise<Account> {
  const email = canonical(asked.email);
  const subject = parts.loginThrottle.subjectOf(email, asked.peerAddress);
  return await parts.loginThrottle.inTurn(subject, () =>
    attempt(parts, subject, { email, password: asked.password }, proof),
  );
}

async function attempt(
  { storage, passwordHasher, loginThrottle }: LoginParts,
  subject: LoginSubject,
  { email, password }: Omit<AskedLogin, "peerAddress">,
  proof: Proof,
): Promise<Account> {
  let account: Account | undefined;
  let admission: Admission = { counter: undefined };
  // It is counted when the password is about to be checked, and not where it is too busy for that.
  const right = await passwordHasher.verify(password, async () => {
    admission = await loginThrottle.admit(subject);
    const found = await readAccount(storage, email, decoyOf(subject));
    account = found.account;
    const isDelayed = admission.counter === undefined || account === undefined;
    const hash = isDelayed ? undefined : proof.hashOf(account as Account);
    return hash ?? { decoy: account?.passwordHash ?? found.decoyHash };
  });
  const known = account as Account | undefined;
  const holds = admission.counter !== undefined && known !== undefined && proof.holds(known, right);
  await loginThrottle.settle(subject, admission, holds);
  if (!holds) {
    const error = new AuthError("LOGIN_FAILED");
    error.subject = known && refusedUser(known);
    throw error;
  }
  return known;
}

/** Somewhere among the ids of users, which are random: what it is told from nobody knows. */
function decoyOf({ account }: LoginSubject): string {
  return account.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Whose login it was, for the record of the one organization that they belong to, or else the platform's. */
function refusedUser({ userId, active, pending }: Account): RefusedSubject {
  const [membership, ...others] = [...active, ...pending];
  return {
    principal: { type: "user", id: userId },
    organizationId: others.length === 0 ? membership?.organizationId : undefined,
  };
}
