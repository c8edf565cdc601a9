import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { canonical } from "./canonical.ts";
import type { Admission, LoginSubject, LoginThrottle } from "./login-throttle.ts";
import { IS_ACTIVE_MEMBER } from "./membership-entity.ts";
import type { PasswordHasher } from "./password.ts";

/** A person who proved who they are. */
export interface Login {
  readonly userId: string;
  readonly email: string;
  /** The hash that the password was checked against. */
  readonly passwordHash: string;
  /** Where they are active: at least one. */
  readonly memberships: readonly LoginMembership[];
}

export interface LoginMembership {
  readonly organizationId: string;
  readonly organizationName: string;
  readonly displayName: string;
  readonly role: string;
  readonly suspended: boolean;
}

/** A row for each membership, or one without any, or where nobody has the email, one with a decoy and nothing else. */
interface LoginRow {
  id: string | null;
  email: string;
  password_hash: string | null;
  decoy_hash: string | null;
  password_expired: boolean;
  organization_id: string;
  organization_name: string;
  display_name: string;
  role: string;
  active: boolean | null;
  suspended: boolean;
}

/**
 * Beside the user, somebody whose hash is the decoy: of each email always the same person, as good as drawn by lot.
 * While hashes differ in what they cost to check, those of other systems from ours, an email that nobody has costs
 * what a person's may, as often as a person's does.
 */
const LOGIN = `
  with decoy as (
    select coalesce(
      (select password_hash from users where id >= ? and password_hash is not null order by id limit 1),
      (select password_hash from users where password_hash is not null order by id limit 1)) as decoy_hash)
  select d.decoy_hash, u.id, u.email, u.password_hash,
    u.password_expire_time is not null and u.password_expire_time <= now() as password_expired,
    m.organization_id, o.name as organization_name, m.display_name, r.name as role,
    ${IS_ACTIVE_MEMBER} as active,
    o.suspend_time is not null as suspended
  from decoy d
  left join users u on u.email = ?
  left join memberships m on m.user_id = u.id
  left join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  left join organizations o on o.id = m.organization_id`;

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

/**
 * Checks an email address and a password: the one way in, whatever is then done with it.
 *
 * Unknown email, wrong password, one-time password that has ended, disabled user, too many failures before: the
 * same answer after the same work, three statements and one hash of the kind that the account has. A right password is counted as a success also
 * where what the caller wants with it is then refused.
 *
 * @throws AuthError LOGIN_FAILED, LOGIN_THROTTLED, PASSWORD_HASHING_BUSY
 */
export async function logIn(parts: LoginParts, asked: AskedLogin): Promise<Login> {
  const email = canonical(asked.email);
  const subject = parts.loginThrottle.subjectOf(email, asked.peerAddress);
  return await parts.loginThrottle.inTurn(subject, () => attempt(parts, subject, email, asked.password));
}

async function attempt(
  { storage, passwordHasher, loginThrottle }: LoginParts,
  subject: LoginSubject,
  email: string,
  password: string,
): Promise<Login> {
  let rows: LoginRow[] = [];
  let admission: Admission = { counter: undefined };
  // It is counted when the password is about to be checked, and not where it is too busy for that.
  const right = await passwordHasher.verify(password, async () => {
    admission = await loginThrottle.admit(subject);
    rows = await storage.fork().execute(LOGIN, [decoyOf(subject), email]);
    const { password_hash: stored = null, decoy_hash: decoy = null } = rows[0] ?? {};
    const isDelayed = admission.counter === undefined;
    return isDelayed || stored === null ? { decoy: stored ?? decoy ?? undefined } : stored;
  });
  const user = rows.find(isSomebody);
  const memberships = rows
    .filter((row) => row.active)
    .map((row) => ({
      organizationId: row.organization_id,
      organizationName: row.organization_name,
      displayName: row.display_name,
      role: row.role,
      suspended: row.suspended,
    }));
  const succeeded = right && user !== undefined && !user.password_expired && memberships.length > 0;
  await loginThrottle.settle(subject, admission, succeeded);
  if (!succeeded) {
    throw new AuthError("LOGIN_FAILED");
  }
  return { userId: user.id, email: user.email, passwordHash: user.password_hash, memberships };
}

function isSomebody(row: LoginRow): row is LoginRow & { id: string; password_hash: string } {
  return row.id !== null && row.password_hash !== null;
}

/** Somewhere among the ids of users, which are random: what it is told from nobody knows. */
function decoyOf({ account }: LoginSubject): string {
  return account.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
