import { setImmediate } from "node:timers/promises";
import type { KeyHasher } from "../credentials/key-digest.ts";
import { AuthError } from "../errors.ts";
import { throwIfGivenUp } from "../storage/cancellation.ts";
import { canonical } from "./canonical.ts";
import { readImportedHash } from "./imported-password/imported-password.ts";

/** One person of another system, as they are to be here. */
export interface UserToImport {
  readonly email: string;
  readonly displayName: string;
  readonly organizationId: string;
  /** The name of a role of the organization. */
  readonly role: string;
  /** As the other system writes it. */
  readonly passwordHash: string;
}

/** A person that nothing is wrong with by themselves. The email is in canonical form, the hash as it is kept. */
export interface CheckedUser extends UserToImport {
  /** Of all that they are imported with, in hexadecimal digits. */
  readonly digest: string;
}

/** So many are looked at before other calls have their turn. */
const AT_ONCE = 250;

/** Checks each person by themselves, and against those before. @returns for each, what is wrong, if anything is. */
export async function checkUsers(
  keyHasher: KeyHasher,
  users: Iterable<UserToImport | AuthError>,
): Promise<(CheckedUser | AuthError)[]> {
  const seen = new Map<string, number>();
  const checked: (CheckedUser | AuthError)[] = [];
  for (const user of users) {
    if (checked.length % AT_ONCE === 0) {
      await setImmediate();
      throwIfGivenUp();
    }
    checked.push(user instanceof AuthError ? user : check(keyHasher, user, checked.length, seen));
  }
  return checked;
}

function check(
  keyHasher: KeyHasher,
  user: UserToImport,
  at: number,
  seen: Map<string, number>,
): CheckedUser | AuthError {
  const email = canonical(user.email);
  const first = seen.get(email);
  if (first !== undefined) {
    return new AuthError("EMAIL_TAKEN", { message: `users[${first}] of this call has the same email.` });
  }
  const passwordHash = readImportedHash(user.passwordHash);
  if (passwordHash === undefined) {
    return new AuthError("PASSWORD_HASH_INVALID");
  }
  seen.set(email, at);
  const content = { ...user, email, passwordHash };
  return { ...content, digest: digestOf(keyHasher, content) };
}

/** Under the pepper: nobody who reads the database can try what a person was imported with. */
function digestOf(
  keyHasher: KeyHasher,
  { email, displayName, organizationId, role, passwordHash }: UserToImport,
): string {
  const content = [email, displayName, organizationId, role, passwordHash];
  return keyHasher.hash(`imported user\0${JSON.stringify(content)}`).digest.toString("hex");
}
