import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { v4 as uuidv4 } from "uuid";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import type { Catalogue } from "../../src/permissions/permission-pattern.ts";
import {
  type AddedKey,
  addApiKey,
  addOrganization,
  addRole,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { plainRights } from "../permissions/plain-permissions.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService, UserService } from "../support/service.ts";
import { addPerson, type Headers, type Person, refusalOf, rightsOf } from "./people.ts";

let service: TestService;
/** Another replica on the same database. */
let replica: TestService;
let password: Password;
let organizationId: string;
let owner: Person;
let catalogue: Catalogue;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
  organizationId = await addOrganization(service.core);
  owner = await addPerson(service, password, organizationId, "owner");
  const rows = await run<{ name: string; scope: string }>("select name, scope from permissions");
  const ofScope = (scope: string) => rows.filter((row) => row.scope === scope).map(({ name }) => name);
  catalogue = { organization: ofScope("organization"), platform: ofScope("platform") };
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const make = async (permissions: readonly string[], of = organizationId) => {
  const name = `role-${uuidv4().slice(0, 8)}`;
  return { name, id: await addRole(service.core, { organizationId: of, name, permissions }) };
};

const update = (
  headers: Headers,
  id: string,
  more: { role?: string; disabled?: boolean; organizationId?: string },
  on = service,
) => on.client(UserService, headers).updateUser({ id, ...more });

async function membershipOf(id: string, of = organizationId) {
  const [row] = await run<{ role: string; disabled: boolean }>(
    `select r.name as role, m.disable_time is not null as disabled
     from memberships m join roles r on r.id = m.role_id where m.user_id = $1 and m.organization_id = $2`,
    id,
    of,
  );
  return row;
}

async function activeOwners(of: string): Promise<number> {
  const rows = await run(
    `select from memberships m join roles r on r.id = m.role_id where m.organization_id = $1
       and r.name = 'owner' and m.disable_time is null and m.accept_time is not null and m.remove_time is null`,
    of,
  );
  return rows.length;
}

test("a new role is in force on another replica's next call: for the person, and for their API keys", async () => {
  const person = await addPerson(service, password, organizationId, "admin");
  const key = await addApiKey(service.core, {
    organizationId,
    owner: { userId: person.id },
    permissions: ["calls.*", "auth.users.write"],
  });
  const rights = async () => ({
    person: (await rightsOf(replica, person.headers)).includes("auth.users.write"),
    key: (await rightsOf(replica, { "x-api-key": key.text })).filter((name) => !name.endsWith(".read")),
  });
  const everyCall = catalogue.organization.filter((name) => /^calls\.(?!read$)/.test(name)).sort();
  assert.deepEqual(await rights(), { person: true, key: ["auth.users.write", ...everyCall] });
  const { user } = await update(owner.headers, person.id, { role: "member" });
  assert.equal(user?.role, "member");
  assert.deepEqual(await rights(), { person: false, key: everyCall });
  const me = await replica.client(AuthenticationService, person.headers).whoAmI({});
  assert.equal(me.principal?.role, "member", "whatever the token says");
  await update(owner.headers, person.id, { role: "viewer" });
  assert.deepEqual(await rights(), { person: false, key: [] });
  await update(owner.headers, person.id, { role: "admin" });
  assert.deepEqual(await rights(), { person: true, key: ["auth.users.write", ...everyCall] });
});

test("who may give which role to whom", async () => {
  const of = await addOrganization(service.core);
  await addRole(service.core, { organizationId: of, name: "helpdesk", permissions: ["auth.users.*"] });
  await addRole(service.core, { organizationId: of, name: "reader", permissions: ["auth.users.read"] });
  const first = await addPerson(service, password, of, "owner");
  const internal = async (...permissions: string[]): Promise<Headers> => ({
    "x-internal-key": (await addServiceKey(service.core, { permissions })).text,
    "x-org-id": of,
  });
  const person = async (role: string) => (await addPerson(service, password, of, role)).headers;
  const key = await addApiKey(service.core, {
    organizationId: of,
    owner: { userId: first.id },
    permissions: ["auth.users.write", "auth.users.read"],
  });
  const platform = await addPerson(service, password, await addOrganization(service.core), "viewer", {
    platformRole: "administrator",
  });

  const moves = [
    ["admin", "owner"],
    ["owner", "admin"],
    ["admin", "member"],
    ["viewer", "admin"],
    ["admin", "helpdesk"],
    ["admin", "reader"],
  ] as const;
  const [done, only, held, denied] = ["done", "OWNER_REQUIRED", "PERMISSION_NOT_HELD", "PERMISSION_DENIED"];
  const table: [string, Headers, string[]][] = [
    ["owner", await person("owner"), [done, done, done, done, done, done]],
    ["admin", await person("admin"), [only, only, done, done, done, done]],
    ["helpdesk", await person("helpdesk"), [only, only, held, held, done, done]],
    ["member", await person("member"), [denied, denied, denied, denied, denied, denied]],
    ["viewer", await person("viewer"), [denied, denied, denied, denied, denied, denied]],
    ["API key", { "x-api-key": key.text }, [only, only, held, held, held, done]],
    ["internal key of all", await internal("*"), [done, done, done, done, done, done]],
    ["internal key for users", await internal("auth.users.write"), [only, only, held, held, held, held]],
    [
      "internal key of the platform's users",
      await internal("platform.users.write"),
      [held, held, held, held, held, held],
    ],
    // Who is a viewer, where they are anything.
    ["platform administrator", platform.headers, [held, held, held, held, held, done]],
  ];
  const outcomes: [string, string[]][] = [];
  for (const [actor, headers] of table) {
    const row: string[] = [];
    for (const [from, to] of moves) {
      const { id } = await addUser(service.core, { organizationId: of, role: from, password });
      const reason = await reasonOf(update(headers, id, { role: to, organizationId: of }));
      row.push(reason ?? "done");
      assert.equal((await membershipOf(id, of))?.role, reason === undefined ? to : from);
    }
    outcomes.push([actor, row]);
  }
  assert.deepEqual(
    outcomes,
    table.map(([actor, , row]) => [actor, row]),
  );
});

test("nobody raises themselves, with whatever they hold", async () => {
  const raised = ["owner", "admin", "member", (await make(["*"])).name, (await make(["calls.live"])).name];
  const everyName = catalogue.organization;
  const people: [string, Person][] = [
    ["by patterns", await addPerson(service, password, organizationId, (await make(["auth.*"])).name)],
    [
      "by a few names",
      await addPerson(service, password, organizationId, (await make(["auth.users.write"])).name),
    ],
  ];
  // They hold all that there is today, and none of what comes.
  const byName = await addPerson(service, password, organizationId, (await make(everyName)).name);
  for (const [who, { id, headers }] of people) {
    const before = await rightsOf(service, headers);
    const key = await addApiKey(service.core, {
      organizationId,
      owner: { userId: id },
      permissions: ["auth.users.write"],
    });
    for (const role of raised) {
      for (const by of [headers, { "x-api-key": key.text }]) {
        const reason = await reasonOf(update(by, id, { role }));
        assert.ok(reason === "OWNER_REQUIRED" || reason === "PERMISSION_NOT_HELD", `${who}: ${reason}`);
      }
    }
    assert.deepEqual(await rightsOf(service, headers), before, who);
  }
  for (const role of ["owner", "admin", "member", (await make(["calls.*"])).name]) {
    const reason = await reasonOf(update(byName.headers, byName.id, { role }));
    assert.ok(reason === "OWNER_REQUIRED" || reason === "PERMISSION_NOT_HELD", reason);
  }
  // They may step down.
  await update(byName.headers, byName.id, { role: (await make(["calls.read"])).name });
  assert.deepEqual(await rightsOf(service, byName.headers), ["calls.read"]);
});

test("nobody raises themselves by changing their own role", async () => {
  const { id, name } = await make(["auth.roles.write", "calls.read"]);
  const { headers } = await addPerson(service, password, organizationId, name);
  const roles = service.client(RoleService, headers);
  for (const more of ["calls.write", "auth.users.write", "calls.*", "*"]) {
    const permissions = { values: ["auth.roles.write", "calls.read", more] };
    await refusedWith("PERMISSION_NOT_HELD", roles.updateRole({ id, permissions }));
  }
  assert.deepEqual(await rightsOf(service, headers), ["auth.roles.write", "calls.read"]);
});

test("a role that the organization does not have is unknown", async () => {
  const { id } = await addUser(service.core, { organizationId, role: "viewer", password });
  const elsewhere = await make(["calls.read"], await addOrganization(service.core));
  for (const role of ["boss", elsewhere.name]) {
    await refusedWith("ROLE_UNKNOWN", update(owner.headers, id, { role }));
  }
  await refusedWith("REQUEST_INVALID", update(owner.headers, id, { role: "Owner" }));
  await refusedWith("REQUEST_INVALID", update(owner.headers, id, { role: "" }));
  assert.deepEqual(await membershipOf(id), { role: "viewer", disabled: false });
});

test("the last owner who can act stays one, whoever asks", async () => {
  const of = await addOrganization(service.core);
  const last = await addPerson(service, password, of, "owner");
  // These do not count: they cannot act.
  await addPerson(service, password, of, "owner", { accepted: false });
  const disabled = await addPerson(service, password, of, "owner", { disabled: true });
  await addPerson(service, password, await addOrganization(service.core), "owner");
  const platform = await addServiceKey(service.core, { permissions: ["*"] });
  const internal = { "x-internal-key": platform.text, "x-org-id": of };
  for (const headers of [last.headers, internal]) {
    for (const more of [{ role: "admin" }, { role: "viewer", disabled: true }, { disabled: true }]) {
      await refusedWith("LAST_OWNER", update(headers, last.id, more));
    }
  }
  assert.deepEqual(await membershipOf(last.id, of), { role: "owner", disabled: false });
  await update(last.headers, disabled.id, { disabled: false });
  await update(last.headers, last.id, { role: "admin" });
  assert.equal(await activeOwners(of), 1);
});

test("of two owners who demote each other at once, exactly one succeeds", async () => {
  for (let round = 0; round < 8; round++) {
    const of = await addOrganization(service.core);
    const one = await addPerson(service, password, of, "owner");
    const other = await addPerson(service, password, of, "owner");
    const reasons = await Promise.all([
      reasonOf(update(one.headers, other.id, { role: "viewer" })),
      reasonOf(update(other.headers, one.id, { role: "admin" }, replica)),
    ]);
    const [loser] = reasons.filter((reason) => reason !== undefined);
    assert.equal(reasons.filter((reason) => reason === undefined).length, 1, String(reasons));
    // The loser met a rule, or had lost their rights by then.
    assert.match(loser ?? "", /^(LAST_OWNER|OWNER_REQUIRED|PERMISSION_DENIED)$/);
    assert.equal(await activeOwners(of), 1);
  }
});

test("of many owners who all leave being one at once, in different ways, one remains", async () => {
  const of = await addOrganization(service.core);
  const owners = await Promise.all(
    Array.from({ length: 6 }, () => addPerson(service, password, of, "owner")),
  );
  const ways = [
    ({ headers, id }: Person, on: TestService) => update(headers, id, { role: "viewer" }, on),
    ({ headers, id }: Person, on: TestService) => update(headers, id, { disabled: true }, on),
    ({ headers, id }: Person, on: TestService) => on.client(UserService, headers).removeMembership({ id }),
  ];
  const calls = owners.map((person, turn) =>
    reasonOf((ways[turn % 3] ?? assert.fail())(person, turn < 3 ? service : replica)),
  );
  const reasons = await Promise.all(calls);
  assert.deepEqual(reasons.toSorted(), ["LAST_OWNER", ...Array.from({ length: 5 }, () => undefined)]);
  assert.equal(await activeOwners(of), 1);
});

test("only the platform changes its administrators, whatever else they are", async () => {
  const target = await addPerson(service, password, organizationId, "member", {
    platformRole: "administrator",
  });
  await refusedWith("PERMISSION_NOT_HELD", update(owner.headers, target.id, { role: "viewer" }));
  const platform = await addServiceKey(service.core, { permissions: ["*"] });
  const internal = { "x-internal-key": platform.text, "x-org-id": organizationId };
  await update(internal, target.id, { role: "viewer" });
  assert.equal((await membershipOf(target.id))?.role, "viewer");
});

test("a role and a lock-out in one call are one change", async () => {
  const person = await addPerson(service, password, organizationId, "admin");
  const { user } = await update(owner.headers, person.id, { role: "viewer", disabled: true });
  assert.deepEqual([user?.role, user?.disabled], ["viewer", true]);
  assert.equal(await refusalOf(replica, person.headers), "USER_DISABLED");
  const events = () =>
    run("select action, detail from audit_events where target_id = $1 order by id", person.id);
  const demotion = {
    action: "user.update",
    detail: { before: { role: "admin", disabled: false }, after: { role: "viewer", disabled: true } },
  };
  assert.deepEqual(await events(), [demotion]);
  // As it is already: nothing is written.
  await update(owner.headers, person.id, { role: "viewer", disabled: true });
  await update(owner.headers, person.id, { role: "viewer" });
  assert.deepEqual(await events(), [demotion]);
  // The sessions from before have ended, in the same change.
  await update(owner.headers, person.id, { disabled: false });
  assert.equal(await refusalOf(replica, person.headers), "TOKEN_REVOKED");
  const [first] = await run<{ tags: string[] }>(
    "select tags from changes where $1 = any(tags) order by id limit 1",
    `user:${person.id}`,
  );
  assert.match(first?.tags.join(" ") ?? "", /^user:\S+ session:\S+$/);
});

test("whoever is refused one half of a change gets neither", async () => {
  const helpdesk = await addPerson(service, password, organizationId, (await make(["auth.users.*"])).name);
  const target = await addUser(service.core, { organizationId, role: "viewer", password });
  const both = update(helpdesk.headers, target.id, { role: "admin", disabled: true });
  await refusedWith("PERMISSION_NOT_HELD", both);
  assert.deepEqual(await membershipOf(target.id), { role: "viewer", disabled: false });
});

test("whoever is let in with another role is let in with that one", async () => {
  const reader = await make(["auth.users.read"]);
  const helpdesk = await addPerson(service, password, organizationId, (await make(["auth.users.*"])).name);
  const { id } = await addUser(service.core, { organizationId, role: "admin", password, disabled: true });
  await refusedWith("PERMISSION_NOT_HELD", update(helpdesk.headers, id, { disabled: false }));
  const beyond = update(helpdesk.headers, id, { disabled: false, role: "member" });
  await refusedWith("PERMISSION_NOT_HELD", beyond);
  await update(helpdesk.headers, id, { disabled: false, role: reader.name });
  assert.deepEqual(await membershipOf(id), { role: reader.name, disabled: false });
});

test("the answer tells which API keys may do less, what they have lost, and no others", async () => {
  const of = await addOrganization(service.core);
  const { headers } = await addPerson(service, password, of, "owner");
  const [wide, narrow] = [await make(["*"], of), await make(["calls.read", "auth.users.read"], of)];
  const person = await addUser(service.core, { organizationId: of, role: wide.name, password });
  const colleague = await addUser(service.core, { organizationId: of, role: wide.name, password });
  const key = async (
    name: string,
    permissions: string[],
    more: { userId?: string; expireTime?: Date } = {},
  ) => {
    const { userId = person.id, ...rest } = more;
    return (
      await addApiKey(service.core, { organizationId: of, owner: { userId }, permissions, name, ...rest })
    ).id;
  };
  const losing = await key("losing", ["calls.write", "calls.read", "auth.users.write"]);
  await key("keeping", ["calls.read", "auth.users.read"]);
  const revoked = await key("revoked", ["calls.write"]);
  await run("update api_keys set revoke_time = now() where id = $1", revoked);
  await key("expired", ["calls.write"], { expireTime: new Date(Date.now() - 1_000) });
  const ofColleague = await key("a colleague's", ["calls.live"], { userId: colleague.id });
  const told = (answer: { narrowedApiKeys: { id: string; name: string; lostPermissions: string[] }[] }) =>
    answer.narrowedApiKeys.map(({ id, name, lostPermissions }) => ({ id, name, lostPermissions }));

  const lost = { id: losing, name: "losing", lostPermissions: ["auth.users.write", "calls.write"] };
  assert.deepEqual(told(await update(headers, person.id, { role: narrow.name })), [lost]);
  // They get it back, and nothing is lost.
  assert.deepEqual(told(await update(headers, person.id, { role: wide.name })), []);
  assert.deepEqual(told(await update(headers, person.id, { disabled: true })), []);

  // The same of everybody who has a role.
  const roles = service.client(RoleService, headers);
  const changed = await roles.updateRole({ id: wide.id, permissions: { values: ["calls.read"] } });
  assert.deepEqual(told(changed), [
    lost,
    { ...(await nameOf("keeping")), lostPermissions: ["auth.users.read"] },
    { id: ofColleague, name: "a colleague's", lostPermissions: ["calls.live"] },
  ]);
  const back = await roles.updateRole({ id: wide.id, permissions: { values: ["calls.read", "calls.*"] } });
  assert.deepEqual(told(back), []);

  async function nameOf(name: string): Promise<{ id: string; name: string }> {
    const [row] = await run<{ id: string }>(
      "select id from api_keys where organization_id = $1 and name = $2",
      of,
      name,
    );
    return { id: row?.id ?? "", name };
  }
});

test("the first 250 of them are told, the oldest first", async () => {
  const of = await addOrganization(service.core);
  const { headers } = await addPerson(service, password, of, "owner");
  const role = await make(["calls.*"], of);
  const person = await addUser(service.core, { organizationId: of, role: role.name, password });
  const ids: string[] = [];
  for (let turn = 0; turn < 260; turn++) {
    const permissions = [turn % 2 === 0 ? "calls.write" : "calls.*"];
    const key = await addApiKey(service.core, {
      organizationId: of,
      owner: { userId: person.id },
      permissions,
    });
    ids.push(key.id);
  }
  const { narrowedApiKeys } = await update(headers, person.id, { role: "viewer" });
  assert.deepEqual(
    narrowedApiKeys.map(({ id }) => id),
    ids.slice(0, 250),
  );
});

test("what the answer says is lost is what a key could do before and cannot do after, for any roles and keys", async () => {
  const of = await addOrganization(service.core);
  const { headers } = await addPerson(service, password, of, "owner");
  const role = await make([], of);
  const person = await addUser(service.core, { organizationId: of, role: role.name, password });
  const keys: AddedKey[] = [];
  for (let turn = 0; turn < 3; turn++) {
    keys.push(
      await addApiKey(service.core, { organizationId: of, owner: { userId: person.id }, permissions: [] }),
    );
  }
  const texts = fc.oneof(
    fc.constantFrom(...catalogue.organization),
    fc.constantFrom("*", "calls.*", "*.read", "*.write", "auth.*", "auth.users.*"),
  );
  const lists = fc.uniqueArray(texts, { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(lists, lists, fc.tuple(lists, lists, lists), async (before, after, granted) => {
      await run("update roles set permissions = $1 where id = $2", before, role.id);
      for (const [at, key] of keys.entries()) {
        await run("update api_keys set permissions = $1 where id = $2", granted[at] ?? [], key.id);
      }
      const rights = () =>
        Promise.all(keys.map(async ({ text }) => new Set(await rightsOf(replica, { "x-api-key": text }))));
      const could = await rights();
      const { narrowedApiKeys } = await service
        .client(RoleService, headers)
        .updateRole({ id: role.id, permissions: { values: after } });
      const can = await rights();
      const expected = keys.flatMap(({ id }, at) => {
        const of = plainRights(granted[at] ?? [], "api-key", catalogue);
        assert.deepEqual(can[at], of.intersection(plainRights(after, "role", catalogue)));
        const lost = [...(could[at] ?? new Set())].filter((name) => !can[at]?.has(name));
        return lost.length === 0 ? [] : [{ id, lostPermissions: lost.sort() }];
      });
      assert.deepEqual(
        narrowedApiKeys.map(({ id, lostPermissions }) => ({ id, lostPermissions })),
        expected,
      );
    }),
    { numRuns: 30 },
  );
});
