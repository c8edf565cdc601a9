import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import {
  addApiKey,
  addOrganization,
  addRole,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { startService, type TestService } from "../support/service.ts";
import { addPerson, type Headers, type Person, rightsOf } from "../users/people.ts";
import { whileHolding } from "../users/while-holding.ts";

let service: TestService;
/** Another replica on the same database. */
let replica: TestService;
let password: Password;
let organizationId: string;
let owner: Person;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
  organizationId = await addOrganization(service.core);
  owner = await addPerson(service, password, organizationId, "owner");
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const roles = (headers: Headers, on = service) => on.client(RoleService, headers);
const freshName = () => `role-${uuidv4().slice(0, 8)}`;
const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const make = async (permissions: readonly string[], of = organizationId) => {
  const name = freshName();
  return { name, id: await addRole(service.core, { organizationId: of, name, permissions }) };
};

const permissionsOf = async (id: string) =>
  (await run<{ permissions: string[] }>("select permissions from roles where id = $1", id))[0]?.permissions;

const create = (headers: Headers, permissions: readonly string[], more: { organizationId?: string } = {}) =>
  roles(headers).createRole({ name: freshName(), permissions: { values: [...permissions] }, ...more });

const update = (headers: Headers, id: string, permissions: readonly string[]) =>
  roles(headers).updateRole({ id, permissions: { values: [...permissions] } });

/** Somebody with a role of their own that holds this. */
const holder = async (...permissions: string[]): Promise<Person> =>
  addPerson(service, password, organizationId, (await make(permissions)).name);

test("a role allows what it was made of, sorted, and is listed after the built-in ones", async () => {
  const of = await addOrganization(service.core);
  const { headers } = await addPerson(service, password, of, "owner");
  const name = freshName();
  const asked = { name, permissions: { values: ["calls.write", "auth.users.*", "calls.read"] } };
  const { role } = await roles(headers).createRole(asked);
  const permissions = ["auth.users.*", "calls.read", "calls.write"];
  const expected = { id: role?.id, organizationId: of, name, permissions, builtIn: false };
  assert.deepEqual({ ...role }, { $typeName: "latchkey.v1.Role", ...expected });
  const { roles: listed } = await roles(headers).listRoles({});
  assert.deepEqual(
    listed.map((each) => [each.name, each.builtIn]),
    [
      ["owner", true],
      ["admin", true],
      ["member", true],
      ["viewer", true],
      [name, false],
    ],
  );
  assert.deepEqual(listed.at(-1), role);
  const person = await addPerson(service, password, of, name);
  assert.deepEqual(await rightsOf(service, person.headers), [
    "auth.users.read",
    "auth.users.write",
    "calls.read",
    "calls.write",
  ]);
});

test("a role may allow nothing", async () => {
  const { role } = await roles(owner.headers).createRole({ name: freshName() });
  assert.deepEqual(role?.permissions, []);
  const person = await addPerson(service, password, organizationId, role?.name ?? "");
  assert.deepEqual(await rightsOf(service, person.headers), []);
});

test("roles are listed page by page, and only the organization's own", async () => {
  const of = await addOrganization(service.core);
  const { headers } = await addPerson(service, password, of, "viewer");
  await make(["calls.read"], of);
  const names: string[] = [];
  let pageToken = "";
  do {
    const page = await roles(headers).listRoles({ pageSize: 2, pageToken });
    names.push(...page.roles.map((role) => role.name));
    assert.ok(page.roles.every((role) => role.organizationId === of));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.equal(names.length, 5);
  await refusedWith("ORGANIZATION_MISMATCH", roles(headers).listRoles({ organizationId }));
});

test("who may make a role of what: nobody gives more than they hold, now or later", async () => {
  const internal = async (...permissions: string[]): Promise<Headers> => ({
    "x-internal-key": (await addServiceKey(service.core, { permissions })).text,
    "x-org-id": organizationId,
  });
  const apiKey = async (...permissions: string[]): Promise<Headers> => ({
    "x-api-key": (await addApiKey(service.core, { organizationId, owner: { userId: owner.id }, permissions }))
      .text,
  });
  const person = async (...permissions: string[]) => (await holder(...permissions)).headers;
  const builtIn = async (role: string) => (await addPerson(service, password, organizationId, role)).headers;
  const everyCall = (
    await run<{ name: string }>("select name from permissions where name like 'calls.%'")
  ).map(({ name }) => name);
  const everyName = (
    await run<{ name: string }>("select name from permissions where scope = 'organization'")
  ).map(({ name }) => name);

  const asked = [["calls.read"], ["auth.roles.write"], ["calls.*"], ["*.read"], ["auth.users.*"], ["*"]];
  const [made, held, denied] = ["made", "PERMISSION_NOT_HELD", "PERMISSION_DENIED"];
  const table: [string, Headers, string[]][] = [
    ["owner", owner.headers, [made, made, made, made, made, made]],
    ["admin", await builtIn("admin"), [made, made, made, made, made, made]],
    ["member", await builtIn("member"), [denied, denied, denied, denied, denied, denied]],
    ["viewer", await builtIn("viewer"), [denied, denied, denied, denied, denied, denied]],
    ["person by patterns", await person("auth.*", "calls.*"), [made, made, made, held, made, held]],
    // They hold what the patterns mean today, and not what they may come to mean.
    ["person by names", await person(...everyName), [made, made, held, held, held, held]],
    [
      "API key by names",
      await apiKey("auth.roles.write", ...everyCall),
      [made, made, held, held, held, held],
    ],
    // Its own patterns are narrower than those of a role, and end with its owner's.
    ["API key by patterns", await apiKey("auth.roles.write", "*"), [made, made, held, held, held, held]],
    ["internal key of all", await internal("*"), [made, made, made, made, made, made]],
    ["internal key by patterns", await internal("auth.*", "calls.*"), [made, made, made, held, made, held]],
    ["internal key by names", await internal(...everyName), [made, made, held, held, held, held]],
    ["internal key for roles", await internal("auth.roles.write"), [held, made, held, held, held, held]],
  ];
  const outcomes: [string, string[]][] = [];
  for (const [actor, headers] of table) {
    const row: string[] = [];
    for (const permissions of asked) {
      row.push((await reasonOf(create(headers, permissions))) ?? "made");
    }
    outcomes.push([actor, row]);
  }
  assert.deepEqual(
    outcomes,
    table.map(([actor, , row]) => [actor, row]),
  );
});

test("no role reaches a permission of the platform, whoever makes it and however", async () => {
  const everything = await addServiceKey(service.core, { permissions: ["*"] });
  const internal = { "x-internal-key": everything.text, "x-org-id": organizationId };
  const administrator = await addPerson(service, password, organizationId, "owner", {
    platformRole: "administrator",
  });
  const platform = (await run<{ name: string }>("select name from permissions where scope = 'platform'")).map(
    ({ name }) => name,
  );
  assert.ok(platform.length > 0);
  for (const headers of [internal, administrator.headers]) {
    for (const text of [...platform, "platform.*", "platform.users.*"]) {
      await refusedWith("PERMISSION_UNKNOWN", create(headers, [text]));
      await refusedWith("PERMISSION_UNKNOWN", create(headers, ["calls.read", text]));
      const { id } = await make(["calls.read"]);
      await refusedWith("PERMISSION_UNKNOWN", update(headers, id, ["calls.read", text]));
      assert.deepEqual(await permissionsOf(id), ["calls.read"]);
    }
    for (const text of ["*", "*.write", "*.read", "*.users.write"]) {
      const { role } = await create(headers, [text]);
      const person = await addPerson(service, password, organizationId, role?.name ?? "");
      const reached = new Set(await rightsOf(service, person.headers));
      assert.ok(reached.size > 0 && reached.isDisjointFrom(new Set(platform)), text);
    }
  }
});

test("what stands for nothing is unknown, and named", async () => {
  for (const text of ["calls.raed", "nothing.*", "*.nothing", "Calls.read", "calls.*.read", "**", " *"]) {
    const error = await refusedWith("PERMISSION_UNKNOWN", create(owner.headers, ["calls.read", text]));
    assert.doesNotMatch(error.rawMessage, /calls\.read/);
  }
});

test("to add to a role needs what is added; to take away, or to leave be, needs nothing", async () => {
  const { headers } = await holder("auth.roles.write", "calls.read", "calls.write");
  const cases: [string, string[], string[], string | undefined][] = [
    ["adds what they hold", ["calls.read"], ["calls.read", "calls.write"], undefined],
    ["adds what they do not hold", ["calls.read"], ["calls.read", "calls.live"], "PERMISSION_NOT_HELD"],
    ["leaves be what they do not hold", ["calls.live"], ["calls.live", "calls.write"], undefined],
    ["takes away what they do not hold", ["*", "calls.live"], ["calls.live"], undefined],
    ["takes everything away", ["*"], [], undefined],
    ["has a pattern stay", ["calls.*"], ["calls.*", "calls.read"], undefined],
    ["takes one of a pattern's names instead", ["calls.*"], ["calls.live"], undefined],
    ["gives a pattern for its names", ["calls.read"], ["calls.*"], "PERMISSION_NOT_HELD"],
    ["gives a narrower pattern for a wider one", ["*"], ["calls.*"], "PERMISSION_NOT_HELD"],
    ["brings in what is unknown", ["calls.read"], ["calls.read", "calls.raed"], "PERMISSION_UNKNOWN"],
  ];
  for (const [what, from, to, reason] of cases) {
    const { id } = await make(from);
    assert.equal(await reasonOf(update(headers, id, to)), reason, what);
    assert.deepEqual(await permissionsOf(id), reason === undefined ? to.toSorted() : from, what);
  }
});

test("what was taken away meanwhile is added again only by whoever holds it", async () => {
  const { headers } = await holder("auth.roles.write", "calls.read");
  const { id } = await make(["calls.read", "calls.live"]);
  const call = () => reasonOf(update(headers, id, ["calls.read", "calls.live"]));
  const taken = "update roles set permissions = '{calls.read}' where id = $1";
  assert.equal(await whileHolding(service.connection, taken, [id], call), "PERMISSION_NOT_HELD");
  assert.deepEqual(await permissionsOf(id), ["calls.read"]);
});

test("a change is in force on another replica's next call: for people, and for their API keys", async () => {
  const { id, name } = await make(["calls.read", "calls.write"]);
  const person = await addPerson(service, password, organizationId, name);
  const key = await addApiKey(service.core, {
    organizationId,
    owner: { userId: person.id },
    permissions: ["calls.*"],
  });
  const both = async () => [
    await rightsOf(replica, person.headers),
    await rightsOf(replica, { "x-api-key": key.text }),
  ];
  assert.deepEqual(await both(), [
    ["calls.read", "calls.write"],
    ["calls.read", "calls.write"],
  ]);
  await update(owner.headers, id, ["calls.live", "auth.users.read"]);
  assert.deepEqual(await both(), [["auth.users.read", "calls.live"], ["calls.live"]]);
  await update(owner.headers, id, []);
  assert.deepEqual(await both(), [[], []]);
});

test("a role keeps its people when it is renamed", async () => {
  const { id, name } = await make(["calls.read"]);
  const person = await addPerson(service, password, organizationId, name);
  const renamed = freshName();
  const { role } = await roles(owner.headers).updateRole({ id, name: renamed });
  assert.deepEqual([role?.name, role?.permissions], [renamed, ["calls.read"]]);
  assert.deepEqual(await rightsOf(replica, person.headers), ["calls.read"]);
});

test("the built-in roles stay as they are", async () => {
  const { roles: listed } = await roles(owner.headers).listRoles({});
  const builtIn = listed.filter((role) => role.builtIn);
  assert.equal(builtIn.length, 4);
  const before = await run("select * from roles where built_in order by id");
  for (const { id } of builtIn) {
    await refusedWith("ROLE_BUILT_IN", update(owner.headers, id, ["calls.read"]));
    await refusedWith("ROLE_BUILT_IN", roles(owner.headers).updateRole({ id, name: freshName() }));
    await refusedWith("ROLE_BUILT_IN", roles(owner.headers).updateRole({ id }));
    await refusedWith("ROLE_BUILT_IN", roles(owner.headers).deleteRole({ id }));
  }
  assert.deepEqual(await run("select * from roles where built_in order by id"), before);
});

test("a name is taken once in an organization, and free in another", async () => {
  const { name } = await make(["calls.read"]);
  const { id } = await make(["calls.read"]);
  for (const taken of [name, "owner", "viewer"]) {
    await refusedWith("ROLE_NAME_TAKEN", roles(owner.headers).createRole({ name: taken }));
    await refusedWith("ROLE_NAME_TAKEN", roles(owner.headers).updateRole({ id, name: taken }));
  }
  const elsewhere = await addPerson(service, password, await addOrganization(service.core), "owner");
  assert.equal((await roles(elsewhere.headers).createRole({ name })).role?.name, name);
});

test("of many at once who give one name, one succeeds", async () => {
  const name = freshName();
  const made = await Promise.all([make(["calls.read"]), make(["calls.read"]), make(["calls.read"])]);
  const calls = [
    ...Array.from({ length: 5 }, () => roles(owner.headers).createRole({ name })),
    ...made.map(({ id }) => roles(owner.headers, replica).updateRole({ id, name })),
  ];
  const reasons = await Promise.all(calls.map(reasonOf));
  assert.deepEqual(reasons.toSorted(), [...Array.from({ length: 7 }, () => "ROLE_NAME_TAKEN"), undefined]);
});

test("a role of another organization is not found, whoever asks", async () => {
  const there = await addOrganization(service.core);
  const stranger = await addPerson(service, password, there, "owner");
  const everything = await addServiceKey(service.core, { permissions: ["*"] });
  const { id } = await make(["calls.read"]);
  const asThere = { "x-internal-key": everything.text, "x-org-id": there };
  for (const headers of [stranger.headers, asThere]) {
    await refusedWith("NOT_FOUND", update(headers, id, []));
    await refusedWith("NOT_FOUND", roles(headers).updateRole({ id, name: freshName() }));
    await refusedWith("NOT_FOUND", roles(headers).deleteRole({ id }));
  }
  await refusedWith("NOT_FOUND", roles(owner.headers).deleteRole({ id: uuidv4() }));
  assert.deepEqual(await permissionsOf(id), ["calls.read"]);
  // An internal key that names no organization finds it by its id.
  await roles({ "x-internal-key": everything.text }).deleteRole({ id });
  assert.equal(await permissionsOf(id), undefined);
});

test("a role that somebody has is not deleted, be they pending or disabled, and is when they have another", async () => {
  for (const more of [{}, { accepted: false }, { disabled: true }]) {
    const { id, name } = await make(["calls.read"]);
    const { id: userId } = await addUser(service.core, { organizationId, role: name, password, ...more });
    await refusedWith("ROLE_IN_USE", roles(owner.headers).deleteRole({ id }));
    assert.deepEqual(await permissionsOf(id), ["calls.read"]);
    await run(
      `update memberships set role_id = (select id from roles where organization_id = $1 and name = 'viewer')
       where user_id = $2`,
      organizationId,
      userId,
    );
    await roles(owner.headers).deleteRole({ id });
    assert.equal(await permissionsOf(id), undefined);
    await refusedWith("NOT_FOUND", roles(owner.headers).deleteRole({ id }));
  }
});

test("a create that is repeated with its idempotency key makes one role", async () => {
  const asked = { name: freshName(), permissions: { values: ["calls.read"] }, idempotencyKey: uuidv4() };
  const first = await roles(owner.headers).createRole(asked);
  assert.deepEqual(await roles(owner.headers, replica).createRole(asked), first);
  const other = roles(owner.headers).createRole({ ...asked, name: freshName() });
  await refusedWith("IDEMPOTENCY_KEY_REUSED", other);
});

test("what was done is on record, and told to the feed of changes", async () => {
  const name = freshName();
  const asked = { name, permissions: { values: ["calls.read"] } };
  const id = (await roles(owner.headers).createRole(asked)).role?.id ?? "";
  await update(owner.headers, id, ["calls.write"]);
  // Nothing changes, and nothing is written.
  await update(owner.headers, id, ["calls.write"]);
  await roles(owner.headers).updateRole({ id, name });
  await roles(owner.headers).deleteRole({ id });
  const events = await run(
    "select action, organization_id, actor_id, detail from audit_events where target_id = $1 order by id",
    id,
  );
  const of = { organization_id: organizationId, actor_id: owner.id };
  const [read, write] = [["calls.read"], ["calls.write"]];
  assert.deepEqual(events, [
    { action: "role.create", ...of, detail: { after: { name, permissions: read } } },
    {
      action: "role.update",
      ...of,
      detail: { before: { permissions: read }, after: { permissions: write } },
    },
    { action: "role.delete", ...of, detail: { before: { name, permissions: write } } },
  ]);
  const changes = await run("select from changes where tags = array[$1]", `role:${id}`);
  assert.equal(changes.length, 3);
});
