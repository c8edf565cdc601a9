import assert from "node:assert/strict";
import { addUser, type Password, type UserToAdd } from "../access/cast.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService, type TestService, UserService } from "../support/service.ts";

export type Headers = Record<string, string>;

/** Somebody who has logged in, if they can. */
export interface Person {
  readonly id: string;
  readonly email: string;
  readonly headers: Headers;
}

export async function addPerson(
  service: TestService,
  password: Password,
  organizationId: string,
  role: string,
  more: Partial<UserToAdd> = {},
): Promise<Person> {
  const user = await addUser(service.core, { organizationId, role, password, ...more });
  const canLogIn = (more.accepted ?? true) && !(more.disabled ?? false);
  const token = canLogIn ? await service.logIn(user.email, password.text) : "";
  return { ...user, headers: { authorization: `Bearer ${token}` } };
}

/** What the holder of these headers may do, by a service's next decision. */
export async function rightsOf(service: TestService, headers: Headers): Promise<string[]> {
  const list = Object.entries(headers).map(([name, value]) => ({ name, value }));
  const { permissions } = await service.client(AuthenticationService).authenticate({ headers: list });
  return permissions;
}

/** Why these headers are refused, by a service's next decision; undefined where they are not. */
export const refusalOf = (service: TestService, headers: Headers): Promise<string | undefined> =>
  reasonOf(rightsOf(service, headers));

/** Somebody whom an administrator has invited, and who has accepted and chosen their password. */
export async function join(
  service: TestService,
  headers: Headers,
  asked: {
    readonly email: string;
    readonly password: string;
    readonly role: string;
    readonly displayName?: string;
    readonly organizationId?: string;
  },
): Promise<{ readonly id: string }> {
  const { email, password, ...rest } = asked;
  const users = service.client(UserService, headers);
  const { user, invitation } = await users.createUser({ email, ...rest });
  await users.acceptMembership({ email, invitation, password });
  return { id: user?.id ?? assert.fail("was made") };
}

/** Logs in with a password that has to be changed, by changing it. @returns the access token. */
export async function logInFirst(service: TestService, email: string, password: string): Promise<string> {
  const newPassword = `${password} of one's own`;
  await service.client(UserService).changePassword({ email, currentPassword: password, newPassword });
  return await service.logIn(email, newPassword);
}
