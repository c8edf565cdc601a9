import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { BootstrapRefused, bootstrap } from "../../src/users/bootstrap.ts";
import { addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";

const PASSWORD = "one-time password";

let service: TestService;
let password: Password;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
});
after(() => service.stop());

// As a deployment is before its first administrator.
beforeEach(() => run("update users set platform_role = null"));

const run = (sql: string, values: unknown[] = []) => query(service.connection, sql, values);

const asked = (more: { organization?: string; email?: string } = {}) => ({
  organization: "acme",
  email: "first@acme.test",
  password: PASSWORD,
  ...more,
});

const administrators = () => run("select email from users where platform_role = 'administrator' order by 1");

test("of many that start at once, one makes an administrator", async () => {
  const attempts = Array.from({ length: 10 }, (_, turn) =>
    bootstrap(service.core, asked({ email: `first${turn}@acme.test` })),
  );
  const outcomes = await Promise.allSettled(attempts);
  const refused = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.equal(refused.length, 9);
  assert.ok(
    refused.every(({ reason }) => reason instanceof BootstrapRefused),
    String(refused),
  );
  assert.equal((await administrators()).length, 1);
});

test("the first administrator owns the organization, and holds every permission of the platform", async () => {
  const { organizationId } = await bootstrap(service.core, asked({ organization: "Acme" }));
  assert.equal(organizationId, service.organizationId, "the organization that exists, in any case");
  const token = await service.logIn("first@acme.test", PASSWORD);
  const me = await service.client(AuthenticationService, { authorization: `Bearer ${token}` }).whoAmI({});
  assert.equal(me.principal?.role, "owner");
  assert.ok(me.permissions.includes("platform.users.write"));
});

test("a one-time password is held to the rules of every other", async () => {
  for (const [reason, text] of [
    ["PASSWORD_TOO_SHORT", "one-time"],
    ["PASSWORD_COMMON", "123456789987654321"],
    ["PASSWORD_CONTEXT", "first@acme.test first"],
  ]) {
    await assert.rejects(bootstrap(service.core, { ...asked(), password: text ?? "" }), { reason });
  }
  assert.deepEqual(await administrators(), []);
});

test("while an administrator can log in there is no other way in", async () => {
  await bootstrap(service.core, asked());
  for (const more of [{}, { email: "second@acme.test" }, { organization: "another" }]) {
    await assert.rejects(bootstrap(service.core, asked(more)), BootstrapRefused);
  }
  assert.deepEqual(await administrators(), [{ email: "first@acme.test" }]);
});

test("whatever shuts the last administrator out opens the way back in", async () => {
  const waysOut = [
    "update users set password_expire_time = now() where platform_role is not null",
    "update memberships set disable_time = now() where user_id in (select id from users where platform_role is not null)",
    "update memberships set accept_time = null where user_id in (select id from users where platform_role is not null)",
    "update memberships set remove_time = now() where user_id in (select id from users where platform_role is not null)",
  ];
  for (const [turn, out] of waysOut.entries()) {
    await bootstrap(service.core, asked({ email: `before${turn}@acme.test` }));
    await run(out);
    await bootstrap(service.core, asked({ email: `after${turn}@acme.test` }));
    await service.logIn(`after${turn}@acme.test`, PASSWORD);
    await run("update users set platform_role = null");
  }
  await bootstrap(service.core, asked({ organization: "closed", email: "in@closed.test" }));
  await run("update organizations set suspend_time = now() where name = 'closed'");
  await assert.rejects(
    bootstrap(service.core, asked({ organization: "closed", email: "again@closed.test" })),
    /suspended/,
  );
  await bootstrap(service.core, asked({ email: "again@acme.test" }));
});

test("a known person is made the administrator, and let in where they were shut out", async () => {
  const organizationId = service.organizationId;
  const person = await addUser(service.core, { organizationId, role: "viewer", password, disabled: true });
  await bootstrap(service.core, asked({ email: person.email.toUpperCase() }));
  const token = await service.logIn(person.email, PASSWORD);
  const me = await service.client(AuthenticationService, { authorization: `Bearer ${token}` }).whoAmI({});
  assert.deepEqual([me.principal?.id, me.principal?.role], [person.id, "owner"]);
});

test("a known person who had left is made the administrator, and is a member again", async () => {
  const { organizationId } = service;
  const person = await addUser(service.core, { organizationId, role: "viewer", password });
  await run("update memberships set remove_time = now() where user_id = $1", [person.id]);
  await bootstrap(service.core, asked({ email: person.email }));
  const token = await service.logIn(person.email, PASSWORD);
  const me = await service.client(AuthenticationService, { authorization: `Bearer ${token}` }).whoAmI({});
  assert.deepEqual([me.principal?.id, me.principal?.role], [person.id, "owner"]);
});

test("a known person whose password the operator sets keeps no session from before", async () => {
  const organizationId = service.organizationId;
  const person = await addUser(service.core, { organizationId, role: "viewer", password });
  const old = await service.logIn(person.email, password.text);
  await bootstrap(service.core, asked({ email: person.email }));
  await assert.rejects(
    service.client(AuthenticationService, { authorization: `Bearer ${old}` }).whoAmI({}),
    "who held the account before is an administrator now",
  );
});

test("an administrator who was shut out does not come back beside the new one", async () => {
  await bootstrap(service.core, asked({ email: "old@acme.test" }));
  await run("update users set password_expire_time = now() where email = 'old@acme.test'");
  await bootstrap(service.core, asked({ email: "new@acme.test" }));
  await run("update users set password_expire_time = null where email = 'old@acme.test'");
  assert.deepEqual(await administrators(), [{ email: "new@acme.test" }]);
});

test("the password is for one day, unless it is changed", async () => {
  const { expireTime } = await bootstrap(service.core, asked());
  const [row] = await query<{ hours: number; told: boolean }>(
    service.connection,
    `select extract(epoch from password_expire_time - now()) / 3600 as hours, password_expire_time = $1 as told
     from users where platform_role is not null`,
    [expireTime],
  );
  assert.ok(row && row.hours > 23.9 && row.hours <= 24.1 && row.told, JSON.stringify(row));
});

test("what is no name and no email is refused before anything is made", async () => {
  const before = await run("select (select count(*) from organizations), (select count(*) from users)");
  for (const organization of ["", " ", " a", "a ", "a\nb", "\u202ea", "x".repeat(101)]) {
    await assert.rejects(bootstrap(service.core, asked({ organization })), BootstrapRefused, organization);
  }
  for (const email of ["", "a", "@a", "a@", "a b@c", "a@b@c", "a\0@b", `${"x".repeat(65)}@y`]) {
    await assert.rejects(bootstrap(service.core, asked({ email })), BootstrapRefused, email);
  }
  assert.deepEqual(
    await run("select (select count(*) from organizations), (select count(*) from users)"),
    before,
  );
});

test("it is recorded as the operator's doing, without the password", async () => {
  await run("delete from audit_events");
  await bootstrap(service.core, asked());
  const events = await run(
    `select actor_type, actor_id, action, detail #- '{after,passwordExpireTime}' as detail, p.data
     from audit_events e join audit_personal_data p on p.event_id = e.id and p.user_id::text = e.target_id`,
  );
  const [first] = await run("select id from users where email = 'first@acme.test'");
  assert.deepEqual(events, [
    {
      actor_type: "operator",
      actor_id: "bootstrap",
      action: "administrator.bootstrap",
      detail: { before: { administrators: [] }, after: { administrators: [(first as { id: string }).id] } },
      data: JSON.stringify({ after: { email: "first@acme.test" } }),
    },
  ]);
});

test("those whom a new administrator replaces lose the platform's rights, on record and to the feed of changes", async () => {
  await bootstrap(service.core, asked({ email: "before@acme.test" }));
  await run("update users set password_expire_time = now() where email = 'before@acme.test'");
  const [before] = await run("select id from users where email = 'before@acme.test'");
  await bootstrap(service.core, asked({ email: "after@acme.test" }));
  assert.deepEqual(await administrators(), [{ email: "after@acme.test" }]);
  const id = String((before as { id: string }).id);
  const told = await run(
    `select (select tags from changes order by id desc limit 1) as tags,
      (select detail #> '{before,administrators}' from audit_events order by id desc limit 1) as replaced`,
  );
  const [{ tags, replaced }] = told as [{ tags: string[]; replaced: string[] }];
  assert.ok(tags.includes(`user:${id}`));
  assert.deepEqual(replaced, [id]);
});
