import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { PermissionScope } from "../../src/gen/latchkey/v1/access_pb.ts";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import {
  addApiKey,
  addOrganization,
  addRole,
  addServiceKey,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { startService, type TestService } from "../support/service.ts";
import { addPerson, type Headers, type Person, rightsOf } from "../users/people.ts";

const { ORGANIZATION, PLATFORM, UNSPECIFIED } = PermissionScope;

let service: TestService;
/** Another replica on the same database. */
let replica: TestService;
let password: Password;
let organizationId: string;
let owner: Person;
let administrator: Person;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
  organizationId = await addOrganization(service.core);
  owner = await addPerson(service, password, organizationId, "owner");
  administrator = await addPerson(service, password, organizationId, "viewer", {
    platformRole: "administrator",
  });
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

/** In an area that no other test's patterns reach. */
const freshArea = () => `area_${uuidv4().slice(0, 8)}`;

const define = (
  name: string,
  more: { headers?: Headers; scope?: PermissionScope; description?: string; on?: TestService } = {},
) => {
  const { headers = administrator.headers, scope = ORGANIZATION, description = "Do it", on = service } = more;
  return on.client(RoleService, headers).definePermission({ name, scope, description });
};

const list = async (headers: Headers, on = service) =>
  (await on.client(RoleService, headers).listPermissions({})).permissions;

test("whoever has a good credential sees the whole catalogue, by name", async () => {
  const rows = await run<{ name: string; scope: string; description: string }>("select * from permissions");
  const byName = rows
    .map(({ name, scope, description }) => ({
      $typeName: "latchkey.v1.Permission",
      name,
      scope: scope === "platform" ? PLATFORM : ORGANIZATION,
      description,
    }))
    .toSorted((one, other) => (one.name < other.name ? -1 : 1));
  const none = await addRole(service.core, { organizationId, name: "none", permissions: [] });
  assert.ok(none);
  const nobody = await addPerson(service, password, organizationId, "none");
  for (const headers of [nobody.headers, owner.headers, { "x-api-key": service.apiKey }]) {
    assert.deepEqual(
      (await list(headers)).map((each) => ({ ...each })),
      byName,
    );
  }
  await refusedWith("CREDENTIAL_MISSING", list({}));
});

test("what is defined is reached by patterns on another replica's next call, by name only where it was given", async () => {
  const area = freshArea();
  const [first, second] = [`${area}.one`, `${area}.deep.two`];
  await define(first);
  await addRole(service.core, { organizationId, name: "by-pattern", permissions: [`${area}.*`] });
  await addRole(service.core, { organizationId, name: "by-name", permissions: [first] });
  const byPattern = await addPerson(service, password, organizationId, "by-pattern");
  const byName = await addPerson(service, password, organizationId, "by-name");
  const of = { organizationId, owner: { userId: owner.id } };
  const key = await addApiKey(service.core, { ...of, permissions: [`${area}.*`] });
  const wide = await addApiKey(service.core, { ...of, permissions: ["*"] });
  const internal = await addServiceKey(service.core, { permissions: [`${area}.*`] });
  const holders: [Headers, string[]][] = [
    [byPattern.headers, [second, first]],
    [byName.headers, [first]],
    [{ "x-api-key": key.text }, [second, first]],
    [{ "x-api-key": wide.text }, [second, first]],
    [{ "x-internal-key": internal.text }, [second, first]],
    [owner.headers, [second, first]],
  ];
  const held = async (headers: Headers) =>
    (await rightsOf(replica, headers)).filter((name) => name.startsWith(area));
  for (const [headers] of holders) {
    assert.deepEqual(await held(headers), [first]);
  }
  await define(second);
  for (const [headers, names] of holders) {
    assert.deepEqual(await held(headers), names);
  }
});

test("a permission of the platform is the platform's, whatever its name: no role or API key reaches it", async () => {
  const area = freshArea();
  const [own, ofPlatform] = [`${area}.own`, `${area}.deep.read`];
  await define(own);
  await define(ofPlatform, { scope: PLATFORM });
  const name = `role-${area.slice(5)}`;
  await addRole(service.core, {
    organizationId,
    name,
    permissions: [`${area}.*`, "*.read", "*", ofPlatform],
  });
  const person = await addPerson(service, password, organizationId, name);
  const of = { organizationId, owner: { userId: administrator.id } };
  const key = await addApiKey(service.core, { ...of, permissions: [`${area}.*`, "*", ofPlatform] });
  const internal = await addServiceKey(service.core, { permissions: [`${area}.*`] });
  const held = async (headers: Headers) =>
    (await rightsOf(replica, headers)).filter((each) => each.startsWith(area));
  assert.deepEqual(await held(person.headers), [own]);
  assert.deepEqual(await held(owner.headers), [own]);
  assert.deepEqual(await held({ "x-api-key": key.text }), []);
  assert.deepEqual(await held({ "x-internal-key": internal.text }), [ofPlatform, own]);
  assert.deepEqual(await held(administrator.headers), [ofPlatform]);
  const roles = service.client(RoleService, owner.headers);
  const asked = { name: "beyond", permissions: { values: [ofPlatform] } };
  await refusedWith("PERMISSION_UNKNOWN", roles.createRole(asked));
});

test("only the platform defines permissions, and gets no other by it", async () => {
  const name = `${freshArea()}.read`;
  const admin = await addPerson(service, password, organizationId, "admin");
  const key = await addApiKey(service.core, {
    organizationId,
    owner: { userId: administrator.id },
    permissions: ["*"],
  });
  const others = await addServiceKey(service.core, { permissions: ["*.read", "platform.users.*"] });
  for (const headers of [
    owner.headers,
    admin.headers,
    { "x-api-key": key.text },
    { "x-internal-key": others.text },
  ]) {
    await refusedWith("PERMISSION_DENIED", define(name, { headers }));
  }
  const internal = await addServiceKey(service.core, { permissions: ["platform.permissions.write"] });
  const headers = { "x-internal-key": internal.text };
  await define(name, { headers });
  assert.deepEqual(await rightsOf(service, headers), ["platform.permissions.write"]);
});

test("to define it again changes its description, and nothing else", async () => {
  const name = `${freshArea()}.read`;
  const first = await define(name, { description: "Read it" });
  assert.deepEqual(
    { ...first.permission },
    {
      $typeName: "latchkey.v1.Permission",
      name,
      scope: ORGANIZATION,
      description: "Read it",
    },
  );
  assert.notEqual(first.revision, "");
  // Nothing has changed, so there is nothing to wait for.
  const same = await define(name, { description: "Read it" });
  assert.deepEqual(same, { ...first, revision: "" });
  await define(name, { description: "Look at it" });
  const { permission } = await define(name, { description: "" });
  assert.equal(permission?.description, "");
  const events = await run(
    "select action, organization_id, detail from audit_events where target_id = $1 order by id",
    name,
  );
  const told = (description: string) => ({ scope: "organization", description });
  assert.deepEqual(events, [
    { action: "permission.create", organization_id: null, detail: { after: told("Read it") } },
    {
      action: "permission.update",
      organization_id: null,
      detail: { before: { description: "Read it" }, after: told("Look at it") },
    },
    {
      action: "permission.update",
      organization_id: null,
      detail: { before: { description: "Look at it" }, after: told("") },
    },
  ]);
  const changes = await run(
    `select from changes c join audit_events e on e.xmin::text = c.xmin::text
     where e.target_id = $1 and c.tags = array['catalogue']`,
    name,
  );
  assert.equal(changes.length, 3);
});

test("the names that came with Latchkey for calls can be described anew, its own cannot be touched", async () => {
  const before = await list(owner.headers);
  const described = await define("calls.read", { description: "Read all call logs" });
  assert.equal(described.permission?.description, "Read all call logs");
  for (const { name } of before.filter((each) => /^(auth|platform)\./.test(each.name))) {
    for (const scope of [ORGANIZATION, PLATFORM]) {
      await refusedWith("PERMISSION_RESERVED", define(name, { scope }));
    }
  }
  for (const name of ["auth.everything", "auth.users.write.all", "platform.everything"]) {
    await refusedWith("PERMISSION_RESERVED", define(name));
  }
  // What only begins like it is anybody's.
  await define(`authx.${freshArea()}`);
  await define(`platform_x.${freshArea()}`);
  const others = (each: { name: string }) => /^(auth|platform)\./.test(each.name);
  assert.deepEqual((await list(owner.headers)).filter(others), before.filter(others));
});

test("the scope of a permission never changes", async () => {
  const name = `${freshArea()}.read`;
  await define(name, { scope: PLATFORM });
  await refusedWith("PERMISSION_NAME_TAKEN", define(name, { scope: ORGANIZATION }));
  await refusedWith("PERMISSION_NAME_TAKEN", define("calls.read", { scope: PLATFORM }));
  const rows = await run("select scope from permissions where name = any($1) order by 1", [
    name,
    "calls.read",
  ]);
  assert.deepEqual(rows, [{ scope: "organization" }, { scope: "platform" }]);
});

test("what is no name of a permission is refused", async () => {
  for (const name of [
    "",
    "calls",
    "calls.",
    ".read",
    "calls..read",
    "Calls.read",
    "calls.*",
    "*",
    "calls.read\n",
    "calls.réad",
    "1calls.read",
    "calls.-read",
    `${"a".repeat(99)}.a`,
  ]) {
    await refusedWith("REQUEST_INVALID", define(name));
  }
  const name = `${freshArea()}.read`;
  await refusedWith("REQUEST_INVALID", define(name, { scope: UNSPECIFIED }));
  await refusedWith("REQUEST_INVALID", define(name, { scope: 7 as PermissionScope }));
  await refusedWith("REQUEST_INVALID", define(name, { description: "x".repeat(201) }));
  await refusedWith("REQUEST_INVALID", define(name, { description: "a\nb" }));
});

test("of many at once who define one name, one adds it and all are answered alike", async () => {
  for (let round = 0; round < 5; round++) {
    const name = `${freshArea()}.read`;
    const calls = Array.from({ length: 8 }, (_, turn) =>
      reasonOf(define(name, { on: turn % 2 === 0 ? service : replica })),
    );
    assert.deepEqual(new Set(await Promise.all(calls)), new Set([undefined]));
    assert.equal((await run("select from permissions where name = $1", name)).length, 1);
    assert.equal((await run("select from audit_events where target_id = $1", name)).length, 1);
  }
});

test("of two scopes that are given to one name at once, one stays", async () => {
  for (let round = 0; round < 5; round++) {
    const name = `${freshArea()}.read`;
    const reasons = await Promise.all([
      reasonOf(define(name, { scope: PLATFORM })),
      reasonOf(define(name, { scope: ORGANIZATION, on: replica })),
    ]);
    assert.deepEqual(reasons.toSorted(), ["PERMISSION_NAME_TAKEN", undefined]);
    const [row] = await run<{ scope: string }>("select scope from permissions where name = $1", name);
    assert.equal(row?.scope, reasons[0] === undefined ? "platform" : "organization");
  }
});
