import { AuthError, type RefusedSubject } from "../errors.ts";
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

/** A row for each membership, or one without any. */
interface LoginRow {
  id: string;
  email: string;
  password_hash: string;
  password_expired: boolean;
  organization_id: string;
  organization_name: string;
  display_name: string;
  role: string;
  active: boolean | null;
  suspended: boolean;
}

const LOGIN = `
  select u.id, u.email, u.password_hash,
    u.password_expire_time is not null and u.password_expire_time <= now() as password_expired,
    m.organization_id, o.name as organization_name, m.display_name, r.name as role,
    ${IS_ACTIVE_MEMBER} as active,
    o.suspend_time is not null as suspended
  from users u
  left join memberships m on m.user_id = u.id
  left join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  left join organizations o on o.id = m.organization_id
  where u.email = ?`;

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
 * same answer after the same work, three statements and one hash. A right password is counted as a success also
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
    rows = await storage.fork().execute(LOGIN, [email]);
    return admission.counter === undefined ? undefined : rows[0]?.password_hash;
  });
  const [user] = rows;
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
    const error = new AuthError("LOGIN_FAILED");
    error.subject = user && refusedUser(rows);
    throw error;
  }
  return { userId: user.id, email: user.email, passwordHash: user.password_hash, memberships };
}

/** Whose login it was, for the record of the one organization that they belong to, or else the platform's. */
function refusedUser(rows: readonly LoginRow[]): RefusedSubject {
  const [user, ...others] = rows;
  return {
    principal: user && { type: "user", id: user.id },
    organizationId: others.length === 0 ? (user?.organization_id ?? undefined) : undefined,
  };
}
