import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import {
  addApiKey,
  addOrganization,
  addRole,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
  type UserToAdd,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { startService, type TestService, UserService } from "../support/service.ts";
import { addPerson as addPersonTo, type Headers, logInFirst, refusalOf } from "./people.ts";
import { whileHolding } from "./while-holding.ts";

let service: TestService;
let replica: TestService;
let password: Password;
let admin: Headers;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
  admin = (await addPerson(service.organizationId, "admin")).headers;
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const addPerson = (of: string, role: string, more: Partial<UserToAdd> = {}) =>
  addPersonTo(service, password, of, role, more);

const add = (role = "member", more: Partial<UserToAdd> = {}) =>
  addUser(service.core, { organizationId: service.organizationId, role, password, ...more });

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const reset = (headers: Headers, id: string, organizationId = "", on = service) =>
  on.client(UserService, headers).resetPassword({ id, organizationId });

test("the new password is one that nobody chose, and good for nothing but to be changed", async () => {
  const { email, id } = await add();
  const { oneTimePassword: text, expireTime } = await reset(admin, id);
  // 192 bits.
  assert.match(text, /^[\w-]{32}$/);
  await refusedWith("LOGIN_FAILED", service.logIn(email, password.text));
  await refusedWith("PASSWORD_CHANGE_REQUIRED", service.logIn(email, text));
  const [row] = await run<{ lasts: number; told: boolean }>(
    `select extract(epoch from password_expire_time - now())::int as lasts,
       date_trunc('milliseconds', password_expire_time) = $2 as told from users where id = $1`,
    id,
    new Date(Number(expireTime?.seconds) * 1000 + (expireTime?.nanos ?? 0) / 1e6),
  );
  assert.ok(row && row.lasts > 86_400 - 60 && row.lasts <= 86_400 && row.told, JSON.stringify(row));
  await logInFirst(service, email, text);
  await refusedWith("LOGIN_FAILED", service.logIn(email, text));
});

test("a one-time password that has ended changes nothing", async () => {
  const { email, id } = await add();
  const { oneTimePassword: currentPassword } = await reset(admin, id);
  await run("update users set password_expire_time = now() where id = $1", id);
  const change = { email, currentPassword, newPassword: "a password of one's own" };
  await refusedWith("LOGIN_FAILED", service.client(UserService).changePassword(change));
});

test("every session ends with the old password, on another replica's next call too", async () => {
  const { id, headers } = await addPerson(service.organizationId, "member");
  assert.equal(await refusalOf(replica, headers), undefined);
  await reset(admin, id);
  assert.equal(await refusalOf(replica, headers), "TOKEN_REVOKED");
  assert.equal(await refusalOf(service, headers), "TOKEN_REVOKED");
});

test("a one-time password accepts no membership: it has to be changed first", async () => {
  const elsewhere = await addPerson(await addOrganization(service.core), "owner");
  const { email, id } = await add();
  const { oneTimePassword: text } = await reset(admin, id);
  const { invitation } = await service
    .client(UserService, elsewhere.headers)
    .createUser({ email, role: "viewer" });
  const accept = (with_: string) =>
    service.client(UserService).acceptMembership({ email, invitation, password: with_ });
  await refusedWith("PASSWORD_CHANGE_REQUIRED", accept(text));
  await logInFirst(service, email, text);
  await accept(`${text} of one's own`);
});

/** Accounts that are no organization's alone, though the person is in its list of users. */
async function unmanaged(): Promise<Record<string, string>> {
  const { core, organizationId } = service;
  const elsewhere = await addOrganization(core);
  const owner = await addPerson(elsewhere, "owner");
  const both = async (more: Partial<UserToAdd>) => {
    const user = await add();
    await addUser(core, { organizationId: elsewhere, role: "viewer", password, email: user.email, ...more });
    return user.id;
  };
  const foreign = await addUser(core, { organizationId: elsewhere, role: "viewer", password });
  await addUser(core, { organizationId, role: "viewer", password, email: foreign.email });
  await run(
    "update memberships set remove_time = now() where organization_id = $1 and user_id = $2",
    elsewhere,
    foreign.id,
  );
  const invite = async (email = `${uuidv4()}@people.test`) =>
    (await service.client(UserService, admin).createUser({ email, role: "viewer" })).user?.id ?? "";
  const known = await addUser(core, { organizationId: elsewhere, role: "viewer", password });
  const orphan = await add();
  await run("update users set home_organization_id = null where id = $1", orphan.id);
  const invited = await add();
  await service.client(UserService, owner.headers).createUser({ email: invited.email, role: "viewer" });
  return {
    "a member of another organization": await both({}),
    "a member who is disabled in another": await both({ disabled: true }),
    "somebody who is invited into another": invited.id,
    "somebody whom another organization brought in, and who has left it": foreign.id,
    "somebody whom no organization brought in": orphan.id,
    "an administrator of the platform": (await add("viewer", { platformRole: "administrator" })).id,
    "somebody new who has yet to accept": await invite(),
    "somebody known elsewhere who has yet to accept": await invite(known.email),
  };
}

test("an account that is not the organization's alone is nobody's of it to reset or to delete, told alike of all", async () => {
  const owner = await addPerson(service.organizationId, "owner");
  const hashes = () => run("select id, password_hash, email from users order by id");
  const accounts = await unmanaged();
  const before = await hashes();
  const answers = new Set<string>();
  const users = service.client(UserService, owner.headers);
  for (const id of Object.values(accounts)) {
    for (const call of [() => users.resetPassword({ id }), () => users.deleteUser({ id })]) {
      const error = await refusedWith("ACCOUNT_NOT_MANAGED", call());
      const { metadata } = error.findDetails(ErrorInfoSchema)[0] ?? assert.fail();
      answers.add(JSON.stringify([error.rawMessage, metadata]));
    }
  }
  assert.equal(answers.size, 1);
  assert.deepEqual(await hashes(), before);
});

test("who may reset whose password, and delete whom", async () => {
  const { core } = service;
  const organizationId = await addOrganization(core);
  await addRole(core, { organizationId, name: "helpdesk", permissions: ["auth.users.write"] });
  const owner = await addPerson(organizationId, "owner");
  const internal = async (...permissions: string[]): Promise<Headers> => ({
    "x-internal-key": (await addServiceKey(core, { permissions })).text,
    "x-org-id": organizationId,
  });
  const person = async (role: string) => (await addPerson(organizationId, role)).headers;
  const key = await addApiKey(core, {
    organizationId,
    owner: { userId: owner.id },
    permissions: ["auth.users.write", "calls.read"],
  });
  const [done, only, held, denied] = ["done", "OWNER_REQUIRED", "PERMISSION_NOT_HELD", "PERMISSION_DENIED"];
  const none = [denied, denied, denied, denied];
  const all = [done, done, done, done];
  const targets = ["owner", "admin", "member", "helpdesk"];
  // Who, whose password they may reset, and whom they may delete.
  const table: [string, Headers, string[], string[]][] = [
    ["owner", owner.headers, all, all],
    ["admin", await person("admin"), [only, done, done, done], [only, done, done, done]],
    ["helpdesk", await person("helpdesk"), [only, held, held, done], [only, held, held, done]],
    ["member", await person("member"), none, none],
    ["API key", { "x-api-key": key.text }, [only, held, held, done], [only, held, held, done]],
    ["internal key of all", await internal("*"), all, all],
    [
      "internal key for users",
      await internal("auth.users.write"),
      [only, held, held, done],
      [only, held, held, done],
    ],
    // The platform's right deletes whomever. To be told a password is to have what it is good for.
    [
      "internal key of the platform's users",
      await internal("platform.users.write"),
      [held, held, held, held],
      all,
    ],
  ];
  const outcomes: [string, string[], string[]][] = [];
  for (const [actor, headers] of table) {
    const [resetting, deleting]: [string[], string[]] = [[], []];
    for (const role of targets) {
      const { id } = await addUser(core, { organizationId, role, password });
      resetting.push((await reasonOf(reset(headers, id))) ?? "done");
      deleting.push((await reasonOf(service.client(UserService, headers).deleteUser({ id }))) ?? "done");
    }
    outcomes.push([actor, resetting, deleting]);
  }
  assert.deepEqual(
    outcomes,
    table.map(([actor, , ...rows]) => [actor, ...rows]),
  );
});

test("the platform resets no password of whoever may do more anywhere than the caller, pending or disabled there too", async () => {
  const { core, organizationId } = service;
  const elsewhere = await addOrganization(core);
  const narrow = await addServiceKey(core, { permissions: ["platform.users.write", "*.read"] });
  const headers = { "x-internal-key": narrow.text, "x-org-id": organizationId };
  for (const more of [{}, { accepted: false }, { disabled: true }]) {
    const { id, email } = await add("viewer");
    await reset(headers, id);
    await addUser(core, { organizationId: elsewhere, role: "admin", password, email, ...more });
    await refusedWith("PERMISSION_NOT_HELD", reset(headers, id));
  }
  const { id } = await add("viewer", { platformRole: "administrator" });
  await refusedWith("PERMISSION_NOT_HELD", reset(headers, id));
  await refusedWith("PERMISSION_NOT_HELD", service.client(UserService, headers).deleteUser({ id }));
  await reset({ "x-internal-key": service.internalKey, "x-org-id": organizationId }, id);
});

test("nobody resets their own password, nor the password of whoever their key belongs to", async () => {
  const { core, organizationId } = service;
  const owner = await addPerson(organizationId, "owner", { platformRole: "administrator" });
  const role = "desk";
  await addRole(core, { organizationId, name: role, permissions: ["auth.users.write"] });
  const desk = await addPerson(organizationId, role);
  const of = { organizationId, owner: { userId: desk.id } };
  const key = await addApiKey(core, { ...of, permissions: ["auth.users.write"] });
  await refusedWith("ACCOUNT_NOT_MANAGED", reset(owner.headers, owner.id));
  await refusedWith("ACCOUNT_NOT_MANAGED", reset({ "x-api-key": key.text }, desk.id));
  assert.equal(await refusalOf(service, desk.headers), undefined);
});

test("with the platform's right a pending account is reset too, and its change accepts what its home has offered", async () => {
  const email = `${uuidv4()}@people.test`;
  const { user } = await service.client(UserService, admin).createUser({ email, role: "viewer" });
  const internal = { "x-internal-key": service.internalKey, "x-org-id": service.organizationId };
  const { oneTimePassword: text } = await reset(internal, user?.id ?? "");
  await refusedWith("PASSWORD_CHANGE_REQUIRED", service.logIn(email, text));
  await logInFirst(service, email, text);
});

test("whoever loses their rights, or whose target gains some, while the reset waits, resets nothing", async () => {
  const { organizationId } = service;
  const hashOf = (id: string) => run("select password_hash from users where id = $1", id);
  const actor = await addPerson(organizationId, "admin");
  const target = await add();
  const before = await hashOf(target.id);
  const promote = `update memberships m set role_id = r.id from roles r
    where m.user_id = $1 and r.organization_id = m.organization_id and r.name = 'owner'`;
  const invited = `insert into memberships (id, organization_id, user_id, role_id, display_name)
    select gen_random_uuid(), organization_id, $1, id, '' from roles
    where name = 'viewer' and organization_id <> (select organization_id from memberships where user_id = $1) limit 1`;
  await addOrganization(service.core);
  for (const [sql, id, reason] of [
    [promote, target.id, "OWNER_REQUIRED"],
    [invited, (await add()).id, "ACCOUNT_NOT_MANAGED"],
  ] as const) {
    const made = whileHolding(service.connection, sql, [id], () => reasonOf(reset(actor.headers, id)));
    assert.equal(await made, reason);
  }
  const disable = "update memberships set disable_time = now() where user_id = $1";
  const again = await add();
  const late = whileHolding(service.connection, disable, [actor.id], () =>
    reasonOf(reset(actor.headers, again.id)),
  );
  assert.equal(await late, "USER_DISABLED");
  assert.deepEqual(await hashOf(target.id), before);
});

test("two administrators of the platform who reset or delete each other at once do not hold each other up", async () => {
  const pair = async () => [
    await addPerson(await addOrganization(service.core), "owner", { platformRole: "administrator" }),
    await addPerson(await addOrganization(service.core), "owner", { platformRole: "administrator" }),
  ];
  for (let round = 0; round < 3; round++) {
    const [one, other] = await pair();
    assert.ok(one && other);
    const at = async (id: string) =>
      (await run<{ id: string }>("select organization_id as id from memberships where user_id = $1", id))[0]
        ?.id;
    const [oneAt, otherAt] = [await at(one.id), await at(other.id)];
    const reasons = await Promise.all([
      reasonOf(reset(one.headers, other.id, otherAt)),
      reasonOf(reset(other.headers, one.id, oneAt, replica)),
    ]);
    // The second one's session has ended by then.
    assert.deepEqual(reasons.toSorted(), ["TOKEN_REVOKED", undefined]);
  }
});

test("a login that was under way when the password was reset begins no session", async () => {
  const { email, id } = await add();
  const [checked, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const slow = await startService({
    beside: service,
    wrapCore: (core) => ({
      ...core,
      passwordHasher: {
        ...core.passwordHasher,
        async verify(text, stored) {
          const right = await core.passwordHasher.verify(text, stored);
          checked.resolve();
          await done.promise;
          return right;
        },
      },
    }),
  });
  try {
    const login = reasonOf(slow.logIn(email, password.text));
    await checked.promise;
    await reset(admin, id);
    done.resolve();
    assert.equal(await login, "LOGIN_FAILED");
    assert.deepEqual(await run("select from sessions where user_id = $1 and revoke_time is null", id), []);
  } finally {
    done.resolve();
    await slow.stop();
  }
});
