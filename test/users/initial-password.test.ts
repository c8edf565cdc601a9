import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { addOrganization, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { startService, type TestService, TokenService, UserService } from "../support/service.ts";
import { addPerson, type Person } from "./people.ts";
import { whileHolding } from "./while-holding.ts";

const INITIAL = "an initial password";
const CHOSEN = "a password of one's own";

let service: TestService;
let password: Password;
let owner: Person;
let elsewhere: Person;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
  owner = await addPerson(service, password, service.organizationId, "owner");
  elsewhere = await addPerson(service, password, await addOrganization(service.core), "owner");
});
after(() => service.stop());

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

async function invite(by = owner, email = `${uuidv4()}@people.test`) {
  const users = service.client(UserService, by.headers);
  const { user, invitation } = await users.createUser({ email, role: "viewer", password: INITIAL });
  return { email, invitation, id: user?.id ?? assert.fail() };
}

const change = (email: string, currentPassword = INITIAL, newPassword = CHOSEN) =>
  service.client(UserService).changePassword({ email, currentPassword, newPassword });

test("with an initial password nothing works but to change it, and that is told only to whoever knows it", async () => {
  const { email, id } = await invite();
  await refusedWith("PASSWORD_CHANGE_REQUIRED", service.logIn(email, INITIAL));
  await refusedWith("LOGIN_FAILED", service.logIn(email, "wrong"));
  const grant = { case: "password", value: { email, password: INITIAL } } as const;
  const { organizationId } = service;
  await refusedWith(
    "PASSWORD_CHANGE_REQUIRED",
    service.client(TokenService).issueToken({ grant, organizationId }),
  );
  assert.deepEqual(await run("select from sessions where user_id = $1", id), []);
});

test("whoever changes it is a member of the organization that told it, with a password of their own, and of no other", async () => {
  const { email, id, invitation } = await invite();
  const other = await invite(elsewhere, email);
  await run("delete from audit_events");
  await change(email);
  await service.logIn(email, CHOSEN);
  await refusedWith("LOGIN_FAILED", service.logIn(email, INITIAL));
  const pendingOf = async (by: Person) =>
    (await service.client(UserService, by.headers).getUser({ id })).user?.pending;
  assert.deepEqual([await pendingOf(owner), await pendingOf(elsewhere)], [false, true]);
  // The invitation has been used by it, and the other's takes the password besides.
  const accept = (text: string, password: string) =>
    service.client(UserService).acceptMembership({ email, invitation: text, password });
  await refusedWith("LOGIN_FAILED", accept(invitation, CHOSEN));
  await refusedWith("LOGIN_FAILED", accept(other.invitation, INITIAL));
  await accept(other.invitation, CHOSEN);
  const events = await run(
    `select action, organization_id = $1 as here from audit_events
     where action <> 'session.create' order by action, here nulls first`,
    service.organizationId,
  );
  assert.deepEqual(events, [
    { action: "membership.accept", here: false },
    { action: "membership.accept", here: true },
    { action: "user.change_password", here: null },
  ]);
});

test("the password for an email that is known is not used, whether the account was claimed or not", async () => {
  const { email } = await invite(elsewhere);
  const second = "another initial password";
  await service.client(UserService, owner.headers).createUser({ email, role: "viewer", password: second });
  await refusedWith("LOGIN_FAILED", service.logIn(email, second));
  await refusedWith("LOGIN_FAILED", change(email, second));
  await change(email);
  await refusedWith("LOGIN_FAILED", change(email, second));
});

test("it ends after 7 days by the database's clock", async () => {
  const { email, id } = await invite();
  const [row] = await run<{ lasts: number }>(
    "select extract(epoch from password_expire_time - now())::int as lasts from users where id = $1",
    id,
  );
  assert.ok(row && row.lasts > 7 * 86_400 - 60 && row.lasts <= 7 * 86_400, JSON.stringify(row));
  await run("update users set password_expire_time = now() where id = $1", id);
  await refusedWith("LOGIN_FAILED", service.logIn(email, INITIAL));
  await refusedWith("LOGIN_FAILED", change(email));
});

test("of several who change it at once one does", async () => {
  const { email } = await invite();
  const texts = Array.from({ length: 5 }, (_, turn) => `${CHOSEN} ${turn}`);
  const reasons = await Promise.all(texts.map((text) => reasonOf(change(email, INITIAL, text))));
  assert.deepEqual(reasons.toSorted(), [...Array.from({ length: 4 }, () => "LOGIN_FAILED"), undefined]);
  await service.logIn(email, texts[reasons.indexOf(undefined)]);
});

test("whoever is removed or disabled while they change it has changed nothing", async () => {
  for (const column of ["remove_time", "disable_time"]) {
    const { email, id } = await invite();
    const sql = `update memberships set ${column} = now() where user_id = $1`;
    assert.equal(
      await whileHolding(service.connection, sql, [id], () => reasonOf(change(email))),
      "LOGIN_FAILED",
    );
    assert.deepEqual(await run("select from users where id = $1 and claim_time is not null", id), []);
  }
});
