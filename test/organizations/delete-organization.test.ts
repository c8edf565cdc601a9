import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { ImportMode, KeyAlphabet, KeyHashAlgorithm } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { bootstrap } from "../../src/users/bootstrap.ts";
import { apiKey, bearer, type Headers, internalKey } from "../access/actors.ts";
import {
  addApiKey,
  addOrganization,
  addRotation,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { holdRows } from "../credentials/row-lock.ts";
import { delegate } from "../credentials/token-grants.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  OrganizationService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";
import { addPerson, refusalOf } from "../users/people.ts";

let service: TestService;
let other: TestService;
let password: Password;
let admin: Headers;

before(async () => {
  service = await startService();
  other = await startService({ beside: service });
  password = await makePassword(service.core);
  admin = bearer(await service.logIn());
});
after(async () => {
  await other.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);
const organizations = (headers: Headers = admin, at = service) => at.client(OrganizationService, headers);

async function addNamed(): Promise<{ id: string; name: string }> {
  const name = `org ${uuidv4()}`;
  return { id: await addOrganization(service.core, name), name };
}

/** What still could act for an organization. */
async function alive(id: string): Promise<unknown> {
  const [row] = await run(
    `select (select count(*)::int from api_keys where organization_id = $1 and revoke_time is null) as keys,
      (select count(*)::int from memberships where organization_id = $1 and remove_time is null) as members,
      (select count(*)::int from sessions where organization_id = $1 and revoke_time is null) as sessions`,
    id,
  );
  return row;
}

const NOTHING = { keys: 0, members: 0, sessions: 0 };

test("every credential that acts for an organization is refused on the next call, on every replica", async () => {
  const { core } = service;
  const doomed = await addNamed();
  const { id: organizationId } = doomed;
  const owner = await addPerson(service, password, organizationId, "owner");
  const viewer = await addPerson(service, password, organizationId, "viewer");
  const full = await addServiceKey(core, { permissions: ["*"] });
  const permissions = ["calls.*"];
  const owned = await addApiKey(core, { organizationId, owner: { userId: owner.id }, permissions });
  const second = await addRotation(core, "api_key", owned.id, organizationId);
  const ofService = await addApiKey(core, { organizationId, owner: { serviceKeyId: full.id }, permissions });
  const elsewhere = await addNamed();
  await addUser(core, { organizationId: elsewhere.id, role: "member", password, email: viewer.email });
  const spared = await addApiKey(core, {
    organizationId: elsewhere.id,
    owner: { serviceKeyId: full.id },
    permissions,
  });

  const dead: [string, Headers][] = [
    ["USER_DISABLED", owner.headers],
    ["USER_DISABLED", viewer.headers],
    ["API_KEY_REVOKED", apiKey(owned.text)],
    ["API_KEY_REVOKED", apiKey(second)],
    ["API_KEY_REVOKED", bearer(owned.text)],
    ["API_KEY_REVOKED", apiKey(ofService.text)],
    ["ORGANIZATION_UNKNOWN", internalKey(full.text, organizationId)],
  ];
  for (const [, headers] of dead) {
    assert.equal(await refusalOf(other, headers), undefined);
  }
  const { $typeName, revision, ...ended } = await organizations().deleteOrganization(doomed);
  assert.notEqual(revision, "", $typeName);
  assert.deepEqual(ended, { revokedApiKeys: 2, removedMembers: 2, endedSessions: 2 });
  for (const [reason, headers] of dead) {
    assert.equal(await refusalOf(other, headers), reason);
    assert.equal(await refusalOf(service, headers), reason);
  }
  assert.deepEqual(await alive(organizationId), NOTHING);
  // Whoever was a member nowhere else cannot log in; the others are who they are elsewhere.
  await refusedWith("LOGIN_FAILED", other.logIn(owner.email, password.text));
  const grant = { case: "password", value: { email: viewer.email, password: password.text } } as const;
  await refusedWith("LOGIN_FAILED", other.client(TokenService).issueToken({ grant, organizationId }));
  const token = await other.logIn(viewer.email, password.text);
  for (const headers of [bearer(token), apiKey(spared.text), internalKey(full.text, elsewhere.id)]) {
    assert.equal(await refusalOf(other, headers), undefined);
  }
  // An internal key names nothing else in it either, whatever it is called for.
  const users = service.client(UserService, internalKey(full.text));
  await refusedWith("ORGANIZATION_UNKNOWN", users.listUsers({ organizationId }));
});

test("an organization that is deleted is not shown, and its name is free", async () => {
  const { id, name } = await addNamed();
  await organizations().updateOrganization({ id, suspended: true });
  await organizations().deleteOrganization({ id, name });
  await refusedWith("NOT_FOUND", organizations().getOrganization({ id }));
  await refusedWith("NOT_FOUND", organizations().updateOrganization({ id, suspended: false }));
  await refusedWith("NOT_FOUND", organizations().deleteOrganization({ id, name }));
  const { organization } = await organizations().createOrganization({ name: name.toUpperCase() });
  assert.notEqual(organization?.id, id);
  const listed = [];
  for (let pageToken = ""; ; ) {
    const page = await organizations().listOrganizations({ pageSize: 250, pageToken });
    listed.push(...page.organizations.map((each) => each.id));
    pageToken = page.nextPageToken;
    if (pageToken === "") {
      break;
    }
  }
  assert.ok(listed.includes(organization?.id ?? ""));
  assert.ok(!listed.includes(id));
  // The record of what happened in it stays.
  const events = await run<{ action: string; detail: unknown }>(
    "select action, detail from audit_events where organization_id = $1 order by id",
    id,
  );
  assert.deepEqual(
    events.map(({ action }) => action),
    ["organization.suspend", "organization.delete"],
  );
  assert.deepEqual(events.at(-1)?.detail, {
    before: { name, suspended: true },
    revokedApiKeys: 0,
    removedMembers: 0,
    endedSessions: 0,
  });
});

test("whoever has the wrong id deletes nothing", async () => {
  const { id, name } = await addNamed();
  const member = await addPerson(service, password, id, "member");
  for (const wrong of [`${name}.`, name.toUpperCase(), name.slice(1), "acme"]) {
    await refusedWith("ORGANIZATION_NAME_MISMATCH", organizations().deleteOrganization({ id, name: wrong }));
  }
  await refusedWith("NOT_FOUND", organizations().deleteOrganization({ id: uuidv4(), name }));
  await refusedWith("PERMISSION_DENIED", organizations(member.headers).deleteOrganization({ id, name }));
  assert.equal(await refusalOf(service, member.headers), undefined);
});

test("a deleted organization stays suspended, so that whatever has no end of its own is refused", async () => {
  const { id, name } = await addNamed();
  const owner = await addPerson(service, password, id, "owner");
  const key = await addApiKey(service.core, {
    organizationId: id,
    owner: { userId: owner.id },
    permissions: ["calls.*"],
  });
  await organizations().deleteOrganization({ id, name });
  await assert.rejects(
    run("update organizations set suspend_time = null where id = $1", id),
    /organizations_deleted_is_suspended/,
  );
  // As if each of them had been missed.
  await run("update api_keys set revoke_time = null where id = $1", key.id);
  await run("update memberships set remove_time = null where organization_id = $1", id);
  await run("update sessions set revoke_time = null where organization_id = $1", id);
  for (const headers of [owner.headers, apiKey(key.text)]) {
    assert.equal(await refusalOf(service, headers), "ORGANIZATION_SUSPENDED");
  }
});

/** Everybody who could leave something in an organization behind its end. */
async function makers(organizationId: string) {
  const { core } = service;
  const owner = await addPerson(service, password, organizationId, "owner");
  const full = await addServiceKey(core, { permissions: ["*"] });
  const internal = internalKey(full.text, organizationId);
  const key = await addApiKey(core, {
    organizationId,
    owner: { userId: owner.id },
    permissions: ["auth.api_keys.write", "calls.read"],
  });
  const asked = { name: "late", permissions: ["calls.read"] };
  const createKey = (headers: Headers) => service.client(ApiKeyService, headers).createApiKey(asked);
  return {
    owner,
    key,
    calls: {
      "a person's key": () => createKey(owner.headers),
      "a key's key": () => createKey(apiKey(key.text)),
      "an internal key's key": () => createKey(internal),
      "a user": () =>
        service.client(UserService, internal).createUser({
          email: `${uuidv4()}@people.test`,
          role: "viewer",
          password: password.text,
        }),
      "a role": () =>
        service.client(RoleService, owner.headers).createRole({ name: `r-${uuidv4().slice(0, 8)}` }),
      "a session": () => service.logIn(owner.email, password.text),
      "imported keys": () =>
        service.client(ApiKeyService, internalKey(full.text)).importApiKeys({
          organizationId,
          ownerId: owner.id,
          format: { prefix: "old_", length: 40, alphabet: KeyAlphabet.BASE62 },
          hashing: { algorithm: KeyHashAlgorithm.SHA256 },
          mode: ImportMode.ALL_OR_NOTHING,
          keys: [{ ...asked, hash: Buffer.from(uuidv4().repeat(2).slice(0, 32)) }],
        }),
      "a rotated secret": () =>
        service.client(ApiKeyService, owner.headers).rotateApiKey({ id: key.id, overlap: { seconds: 60n } }),
    },
  };
}

test("what is made in an organization while it is deleted ends with it, or is not made", async () => {
  for (let round = 0; round < 6; round++) {
    const doomed = await addNamed();
    const { calls } = await makers(doomed.id);
    const late = Object.values(calls).map((call) => reasonOf(call()));
    const deleted = await reasonOf(organizations(admin, other).deleteOrganization(doomed));
    assert.equal(deleted, undefined);
    const allowed = [
      undefined,
      "ORGANIZATION_UNKNOWN",
      "USER_DISABLED",
      "API_KEY_REVOKED",
      "API_KEY_CREATOR_INACTIVE",
      "LOGIN_FAILED",
      "KEY_NOT_ACTIVE",
      "OWNER_UNKNOWN",
    ];
    for (const reason of await Promise.all(late)) {
      assert.ok(allowed.includes(reason), reason);
    }
    assert.deepEqual(await alive(doomed.id), NOTHING);
  }
});

test("who comes while an organization is being deleted makes nothing in it", async () => {
  const doomed = await addNamed();
  const { calls, key } = await makers(doomed.id);
  // The deletion has begun, and cannot end yet.
  await using held = await holdRows(service.connection, "select from api_keys where id = $1 for update", [
    key.id,
  ]);
  const deletion = organizations(admin, other).deleteOrganization(doomed);
  await held.waiting(1);
  const late = Object.entries(calls).map(async ([what, call]) => [what, await reasonOf(call())] as const);
  await held.waiting(1 + late.length);
  await held.release();
  await deletion;
  for (const [what, reason] of await Promise.all(late)) {
    assert.equal(reason, what === "a session" ? "LOGIN_FAILED" : "ORGANIZATION_UNKNOWN", what);
  }
  assert.deepEqual(await alive(doomed.id), NOTHING);
});

test("a service gets no token for an organization that is deleted meanwhile, and one that it had acts for none", async () => {
  const id = await addOrganization(service.core);
  const issue = () =>
    service.client(TokenService, internalKey(service.internalKey)).issueToken({
      grant: { case: "delegation", value: {} },
      organizationId: id,
    });
  const { accessToken } = await issue();
  const deleting = `update organizations set delete_time = now(), suspend_time = now(), name_key = null where id = $1`;
  await using held = await holdRows(service.connection, deleting, [id]);
  const late = reasonOf(issue());
  await held.waiting(1);
  await held.release();
  assert.equal(await late, "ORGANIZATION_UNKNOWN");
  // Its session has not ended, as it has where the deletion is whole.
  assert.equal(await refusalOf(service, bearer(accessToken)), "ORGANIZATION_UNKNOWN");
});

test("a deletion waits for who came first, and ends what they made", async () => {
  const doomed = await addNamed();
  const { calls, owner } = await makers(doomed.id);
  await using held = await holdRows(
    service.connection,
    "select from memberships where user_id = $1 for update",
    [owner.id],
  );
  const first = calls["a person's key"]();
  await held.waiting(1);
  const deletion = organizations(admin, other).deleteOrganization(doomed);
  await held.waiting(2);
  await held.release();
  const { secret } = await first;
  await deletion;
  assert.equal(await refusalOf(other, apiKey(secret)), "API_KEY_REVOKED");
  assert.deepEqual(await alive(doomed.id), NOTHING);
});

test("whoever comes for a token when a deletion has begun neither gets one nor holds it up", async () => {
  const { core } = service;
  const caller = internalKey((await addServiceKey(core, { permissions: ["*"] })).text);
  const begin: Record<string, (doomed: string, of: { id: string; email: string }) => Promise<unknown>> = {
    "a login": (_doomed, { email }) => service.logIn(email, password.text),
    "on a user's behalf": (_doomed, { id: userId }) => delegate(service, caller, { userId }),
    "on a user's behalf there": (organizationId, { id: userId }) =>
      delegate(service, caller, { userId }, { organizationId }),
    "for a service itself": (organizationId) => delegate(service, caller, {}, { organizationId }),
    "for a service that has named it": (organizationId) =>
      delegate(service, { ...caller, "x-org-id": organizationId }, {}),
  };
  for (const [what, call] of Object.entries(begin)) {
    const doomed = await addNamed();
    const member = { organizationId: doomed.id, role: "owner", password };
    const [first, second] = [await addUser(core, member), await addUser(core, member)];
    // The deletion has the organization, and not yet its people.
    await using held = await holdRows(
      service.connection,
      "select from memberships where user_id = $1 for update",
      [first.id],
    );
    const deletion = reasonOf(organizations(admin, other).deleteOrganization(doomed));
    await held.waiting(1);
    const late = reasonOf(call(doomed.id, second));
    await held.waiting(2);
    await held.release();
    assert.equal(await deletion, undefined, what);
    const reasons = { "a login": "LOGIN_FAILED" };
    assert.equal(await late, reasons[what as keyof typeof reasons] ?? "ORGANIZATION_UNKNOWN", what);
    assert.deepEqual(await alive(doomed.id), NOTHING, what);
  }
});

test("administrators who delete each other's organizations do not wait for each other", async () => {
  for (let round = 0; round < 5; round++) {
    const [one, another] = [await addNamed(), await addNamed()];
    const of = async ({ id }: { id: string }) =>
      (await addPerson(service, password, id, "owner", { platformRole: "administrator" })).headers;
    const [here, there] = [await of(one), await of(another)];
    const reasons = await Promise.all([
      reasonOf(organizations(here).deleteOrganization(another)),
      reasonOf(organizations(there, other).deleteOrganization(one)),
    ]);
    const allowed = [undefined, "ORGANIZATION_UNKNOWN", "USER_DISABLED"];
    assert.ok(reasons.includes(undefined), String(reasons));
    assert.ok(
      reasons.every((reason) => allowed.includes(reason)),
      String(reasons),
    );
  }
});

test("an internal key that a key of the organization made ends with it", async () => {
  const { core } = service;
  const doomed = await addNamed();
  const owner = await addUser(core, { organizationId: doomed.id, role: "owner", password });
  const key = await addApiKey(core, {
    organizationId: doomed.id,
    owner: { userId: owner.id },
    permissions: ["calls.*"],
  });
  const [made, descendant] = [
    await addServiceKey(core, { permissions: ["calls.read"] }),
    await addServiceKey(core, { permissions: ["calls.read"] }),
  ];
  await run(
    "update service_keys set creator_id = $2::uuid, maker_ids = array[$2::uuid] where id = $1",
    made.id,
    key.id,
  );
  await run("update service_keys set creator_id = $2 where id = $1", descendant.id, made.id);
  await organizations().deleteOrganization(doomed);
  for (const { text } of [made, descendant]) {
    assert.equal(await refusalOf(other, internalKey(text)), "SERVICE_KEY_REVOKED");
  }
});

test("who has lost their rights while they waited creates, changes and deletes no organization", async () => {
  const target = await addNamed();
  const home = await addOrganization(service.core);
  const asked = { platformRole: "administrator" } as const;
  const acts: ((headers: Headers) => Promise<unknown>)[] = [
    (headers) => organizations(headers).createOrganization({ name: `org ${uuidv4()}` }),
    (headers) => organizations(headers).updateOrganization({ id: target.id, suspended: true }),
    (headers) => organizations(headers).updateOrganization({ id: target.id, name: "late" }),
    (headers) => organizations(headers).deleteOrganization(target),
  ];
  for (const act of acts) {
    const { id, headers } = await addPerson(service, password, home, "viewer", asked);
    await using held = await holdRows(
      service.connection,
      "update users set platform_role = null where id = $1",
      [id],
    );
    const late = reasonOf(act(headers));
    await held.waiting(1);
    await held.release();
    assert.equal(await late, "PERMISSION_DENIED");
  }
  const { organization } = await organizations().getOrganization({ id: target.id });
  assert.deepEqual([organization?.name, organization?.suspended], [target.name, false]);
});

test("bootstrap is the way back in for who deleted the only organization that they were in", async () => {
  const alone = await startService();
  try {
    const { core, organizationId: id } = alone;
    const asked = {
      organization: "acme",
      email: "again@acme.test",
      password: core.passwordPolicy.generate(),
    };
    await assert.rejects(bootstrap(core, asked), /there is an administrator already/);
    const headers = bearer(await alone.logIn());
    await organizations(headers, alone).deleteOrganization({ id, name: "acme" });
    await refusedWith("LOGIN_FAILED", alone.logIn());
    const { organizationId } = await bootstrap(core, asked);
    assert.notEqual(organizationId, id);
  } finally {
    await alone.stop();
  }
});

test("an organization of tens of thousands of keys is deleted as a whole", async () => {
  const doomed = await addNamed();
  const owner = await addUser(service.core, { organizationId: doomed.id, role: "owner", password });
  const shown = await addApiKey(service.core, {
    organizationId: doomed.id,
    owner: { userId: owner.id },
    permissions: ["calls.*"],
  });
  await run(
    `insert into api_keys (id, organization_id, name, permissions, environment, allowed_cidrs, creator_id,
      owner_user_id, maker_ids)
    select gen_random_uuid(), $1, 'one of many', '{calls.read}', '', '{}', $2, $2, array[$2::uuid]
    from generate_series(1, 29999)`,
    doomed.id,
    owner.id,
  );
  const { revokedApiKeys } = await organizations().deleteOrganization(doomed, { timeoutMs: 60_000 });
  assert.equal(revokedApiKeys, 30_000);
  assert.equal(await refusalOf(other, apiKey(shown.text)), "API_KEY_REVOKED");
});
