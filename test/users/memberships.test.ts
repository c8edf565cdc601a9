import assert from "node:assert/strict";
import { after, before, test } from "node:test";
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
import { refusedWith } from "../support/refusal.ts";
import { startService, type TestService, UserService } from "../support/service.ts";
import { addPerson, type Headers } from "./people.ts";

let service: TestService;
let password: Password;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
});
after(() => service.stop());

const list = (headers: Headers, request: { id?: string; pageSize?: number; pageToken?: string } = {}) =>
  service.client(UserService, headers).listMemberships(request);

test("a person sees where they are, as what, and what waits for them, but nothing that they have left", async () => {
  const { core } = service;
  const person = await addPerson(service, password, service.organizationId, "member");
  const at = async (name: string, more: Parameters<typeof addUser>[1] | object) => {
    const organizationId = await addOrganization(core, name);
    const { email } = person;
    await addUser(core, { role: "viewer", password, organizationId, email, displayName: name, ...more });
    return organizationId;
  };
  await at("Pending", { accepted: false });
  await at("Disabled", { disabled: true });
  const left = await at("Left", {});
  await query(service.connection, "update memberships set remove_time = now() where organization_id = $1", [
    left,
  ]);
  const { memberships } = await list(person.headers);
  assert.deepEqual(
    memberships.map((row) => [row.organizationName, row.displayName, row.role, row.pending, row.disabled]),
    [
      ["acme", "", "member", false, false],
      ["Pending", "Pending", "viewer", true, false],
      ["Disabled", "Disabled", "viewer", false, true],
    ],
  );
  assert.ok(memberships.every(({ createTime, organizationId }) => createTime && organizationId !== ""));
  assert.deepEqual((await list(person.headers, { id: person.id })).memberships, memberships);
  // The platform sees the same.
  assert.deepEqual(
    (await list({ "x-internal-key": service.internalKey }, { id: person.id })).memberships,
    memberships,
  );
});

test("they are listed page by page, and a page of one person is none of another", async () => {
  const person = await addPerson(service, password, service.organizationId, "member");
  for (let count = 0; count < 2; count++) {
    const organizationId = await addOrganization(service.core);
    await addUser(service.core, { organizationId, role: "viewer", password, email: person.email });
  }
  const seen: string[] = [];
  let pageToken = "";
  do {
    const page = await list(person.headers, { pageSize: 1, pageToken });
    seen.push(...page.memberships.map(({ organizationId }) => organizationId));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.equal(new Set(seen).size, 3);
  const first = await list(person.headers, { pageSize: 1 });
  const other = await addPerson(service, password, service.organizationId, "member");
  await refusedWith("PAGE_TOKEN_INVALID", list(other.headers, { pageToken: first.nextPageToken }));
});

test("nobody sees another person's memberships without the platform's permission, and a key has none of its own", async () => {
  const { core, organizationId } = service;
  const owner = await addPerson(service, password, organizationId, "owner");
  const person = await addPerson(service, password, organizationId, "member");
  await refusedWith("PERMISSION_DENIED", list(owner.headers, { id: person.id }));
  const of = { organizationId, owner: { userId: person.id }, permissions: ["auth.users.read", "calls.*"] };
  const key = { "x-api-key": (await addApiKey(core, of)).text };
  await refusedWith("PERMISSION_DENIED", list(key));
  await refusedWith("PERMISSION_DENIED", list(key, { id: person.id }));
  const narrow = { "x-internal-key": (await addServiceKey(core, { permissions: ["auth.users.read"] })).text };
  await refusedWith("PERMISSION_DENIED", list(narrow, { id: person.id }));
  await refusedWith("REQUEST_INVALID", list({ "x-internal-key": service.internalKey }));
  await refusedWith("CREDENTIAL_MISSING", list({}));
});

test("an organization changes what it calls a person, on record, and no other organization's name for them", async () => {
  const { core } = service;
  const elsewhere = await addOrganization(core);
  const owner = await addPerson(service, password, service.organizationId, "owner");
  const person = await addPerson(service, password, service.organizationId, "member", {
    displayName: "Before",
  });
  await addUser(core, {
    organizationId: elsewhere,
    role: "viewer",
    password,
    email: person.email,
    displayName: "There",
  });
  const users = service.client(UserService, owner.headers);
  const { user } = await users.updateUser({ id: person.id, displayName: "After" });
  assert.equal(user?.displayName, "After");
  assert.equal((await users.getUser({ id: person.id })).user?.displayName, "After");
  const { memberships } = await list(person.headers);
  assert.deepEqual(
    memberships.map((row) => row.displayName),
    ["After", "There"],
  );
  const [event] = await query<{ action: string; detail: object }>(
    service.connection,
    "select action, detail from audit_events where target_id = $1 order by id desc limit 1",
    [person.id],
  );
  assert.equal(event?.action, "user.update");
  assert.equal((await users.updateUser({ id: person.id, displayName: "" })).user?.displayName, "");
});

test("to name somebody is not to let them in: whoever holds less may, but an owner only an owner", async () => {
  const { core, organizationId } = service;
  await addRole(core, { organizationId, name: "desk", permissions: ["auth.users.write"] });
  const desk = await addPerson(service, password, organizationId, "desk");
  const users = service.client(UserService, desk.headers);
  const [member, owner] = [
    await addUser(core, { organizationId, role: "member", password }),
    await addUser(core, { organizationId, role: "owner", password }),
  ];
  await users.updateUser({ id: member.id, displayName: "Ann" });
  await refusedWith("OWNER_REQUIRED", users.updateUser({ id: owner.id, displayName: "Ann" }));
  await users.updateUser({ id: member.id, disabled: true });
  await refusedWith(
    "PERMISSION_NOT_HELD",
    users.updateUser({ id: member.id, disabled: false, displayName: "B" }),
  );
});
