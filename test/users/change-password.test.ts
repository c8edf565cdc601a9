import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { addOrganization, addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  AuthenticationService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";

const NEW = "a password that is new";

let service: TestService;
let password: Password;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
});
after(() => service.stop());

const addMember = (more: { email?: string; organizationId?: string; passwordExpireTime?: Date } = {}) =>
  addUser(service.core, { organizationId: service.organizationId, role: "member", password, ...more });

const change = (email: string, newPassword = NEW, currentPassword = password.text) =>
  service.client(UserService).changePassword({ email, currentPassword, newPassword });

const isGood = async (token: string) => {
  const headers = [{ name: "Authorization", value: `Bearer ${token}` }];
  return await reasonOf(service.client(AuthenticationService).authenticate({ headers }));
};

test("after the change the new password lets in, and the old one does not", async () => {
  const { email } = await addMember();
  await change(email.toUpperCase());
  await service.logIn(email, NEW);
  await refusedWith("LOGIN_FAILED", service.logIn(email, password.text));
});

test("after the change every session of the person has ended, in every organization, and nobody else's", async () => {
  const elsewhere = await addOrganization(service.core);
  const [one, other] = [await addMember(), await addMember()];
  await addMember({ email: one.email, organizationId: elsewhere });
  const tokens = service.client(TokenService);
  const grant = { case: "password", value: { email: one.email, password: password.text } } as const;
  const issued = [
    await tokens.issueToken({ grant, organizationId: service.organizationId }),
    await tokens.issueToken({ grant, organizationId: elsewhere }),
  ];
  const others = await service.logIn(other.email, password.text);
  await change(one.email);
  for (const { accessToken } of issued) {
    assert.equal(await isGood(accessToken), "TOKEN_REVOKED");
  }
  assert.equal(await isGood(others), undefined);
});

test("sessions are kept where the person says so, and the old password still does not let in", async () => {
  const { email } = await addMember();
  const token = await service.logIn(email, password.text);
  const asked = { email, currentPassword: password.text, newPassword: NEW };
  await service.client(UserService).changePassword({ ...asked, keepSessions: true });
  assert.equal(await isGood(token), undefined);
  await refusedWith("LOGIN_FAILED", service.logIn(email, password.text));
  await change(email, `${NEW} again`, NEW);
  assert.equal(await isGood(token), "TOKEN_REVOKED");
});

test("a new password that is common, or made of the person's own names, is refused, and changes nothing", async () => {
  const organizationId = await addOrganization(service.core, "Umbrella Botanicals");
  const user = { organizationId, role: "member", password, displayName: "Ludmilla Oyelaran" };
  const { email } = await addUser(service.core, { ...user, email: "lu.oye@thistledown.test" });
  const token = await service.logIn(email, password.text);
  const refused = {
    PASSWORD_COMMON: ["123456789987654321", "Mailcreated5240", "a".repeat(256), "qwertyuiopasdfgh"],
    PASSWORD_CONTEXT: ["Umbrella Botanicals 1", "ludmilla-oyelaran", "lu.oye@thistledown.test"],
  } as const;
  for (const reason of ["PASSWORD_COMMON", "PASSWORD_CONTEXT"] as const) {
    for (const text of refused[reason]) {
      await refusedWith(reason, change(email, text));
    }
  }
  assert.equal(await isGood(token), undefined);
  await service.logIn(email, password.text);
  // Another person may have them.
  await change((await addMember()).email, "Umbrella Botanicals 1");
});

test("what is wrong with a new password besides its length is told only to whoever knew the current one", async () => {
  const { email } = await addMember();
  for (const text of ["123456789987654321", `${email.split("@")[0]}`]) {
    await refusedWith("LOGIN_FAILED", change(email, text, "wrong"));
    await refusedWith("LOGIN_FAILED", change("nobody@x.test", text));
  }
});

test("a wrong current password changes nothing and ends no session", async () => {
  const { email } = await addMember();
  const token = await service.logIn(email, password.text);
  await refusedWith("LOGIN_FAILED", change(email, NEW, `${password.text} `));
  assert.equal(await isGood(token), undefined);
  await service.logIn(email, password.text);
});

test("a new password that is too short is refused, whether the current one is right or the email known", async () => {
  const { email } = await addMember();
  for (const call of [
    change(email, "short"),
    change(email, "short", "wrong"),
    change("nobody@x.test", "short"),
  ]) {
    const error = await refusedWith("PASSWORD_TOO_SHORT", call);
    assert.equal(error.rawMessage, "The password needs at least 15 characters.");
  }
});

test("a new password that is the current one is none, whether that is right or not", async () => {
  const { email } = await addMember();
  const token = await service.logIn(email, password.text);
  const composed = "caf\u00e9 with an accent";
  const same = [
    change(email, password.text),
    change(email, composed, composed.normalize("NFD")),
    change("nobody@people.test", NEW, NEW),
  ];
  for (const call of same) {
    await refusedWith("PASSWORD_UNCHANGED", call);
  }
  assert.equal(await isGood(token), undefined);
});

test("a one-time password that was changed in time has no end", async () => {
  const { email, id } = await addMember({ passwordExpireTime: new Date(Date.now() + 60_000) });
  await change(email);
  const rows = await query(service.connection, "select password_expire_time from users where id = $1", [id]);
  assert.deepEqual(rows, [{ password_expire_time: null }]);
});

test("of several changes at once one succeeds: the others had an old password", async () => {
  const { email } = await addMember();
  const asked = Array.from({ length: 6 }, (_, turn) => `${NEW} ${turn}`);
  const reasons = await Promise.all(asked.map((text) => reasonOf(change(email, text))));
  assert.deepEqual(reasons.toSorted(), [...Array.from({ length: 5 }, () => "LOGIN_FAILED"), undefined]);
  const winner = asked[reasons.indexOf(undefined)];
  assert.ok(winner);
  await service.logIn(email, winner);
});

test("the new password is kept as a hash of today's parameters", async () => {
  const { email, id } = await addMember();
  await change(email);
  const [row] = await query<{ password_hash: string }>(
    service.connection,
    "select password_hash from users where id = $1",
    [id],
  );
  assert.match(row?.password_hash ?? "", /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
});
