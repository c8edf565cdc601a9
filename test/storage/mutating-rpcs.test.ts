import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import { v4 as uuidv4 } from "uuid";
import type { Reason } from "../../src/errors.ts";
import { SERVICES } from "../../src/server/routes.ts";
import {
  addApiKey,
  addOrganization,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  ServiceKeyService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";

interface Records {
  readonly action: string;
  /** Of an organization's record, or of the platform's. */
  readonly of: "organization" | "platform";
  /** Whether cached answers depend on what was changed. */
  readonly tags: boolean;
}

/** What one method does, calls that change nothing since things are so already, and calls that are refused. */
interface Mutating {
  readonly records: Records;
  readonly call: () => Promise<unknown>;
  readonly unchanged: readonly (() => Promise<unknown>)[];
  readonly refused: readonly (readonly [Reason, () => Promise<unknown>])[];
}

let service: TestService;
let password: Password;
let viewer: { id: string; email: string };
let clients: Record<"admin" | "viewer" | "nobody", Clients>;

interface Clients {
  readonly apiKeys: Client<typeof ApiKeyService>;
  readonly organizations: Client<typeof OrganizationService>;
  readonly serviceKeys: Client<typeof ServiceKeyService>;
  readonly tokens: Client<typeof TokenService>;
  readonly users: Client<typeof UserService>;
}

before(async () => {
  service = await startService();
  password = await makePassword(service.core);
  const organizationId = service.organizationId;
  viewer = await addUser(service.core, { organizationId, role: "viewer", password });
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  const clientsOf = (headers: Record<string, string>): Clients => ({
    apiKeys: service.client(ApiKeyService, headers),
    organizations: service.client(OrganizationService, headers),
    serviceKeys: service.client(ServiceKeyService, headers),
    tokens: service.client(TokenService, headers),
    users: service.client(UserService, headers),
  });
  clients = {
    admin: clientsOf(bearer(await service.logIn())),
    viewer: clientsOf(bearer(await service.logIn(viewer.email, password.text))),
    nobody: clientsOf({}),
  };
});
after(() => service.stop());

const missing = uuidv4();

async function mutations(): Promise<Record<string, Mutating>> {
  const { admin, viewer: weak, nobody } = clients;
  const { organizationId, core } = service;
  const owner = { userId: service.admin.id };
  const key = await addApiKey(core, { organizationId, owner, permissions: ["calls.read"] });
  const serviceKey = await addServiceKey(core, { permissions: ["calls.read"] });
  const person = await addUser(core, { organizationId, role: "member", password });
  const changing = await addUser(core, { organizationId, role: "member", password });
  const token = await service.logIn(person.email, password.text);

  const other = await addOrganization(core);
  const apiKey = { name: "key", permissions: ["calls.read"] };
  const user = { email: `${uuidv4()}@people.test`, role: "viewer", password: password.text };
  const organization = { name: `org ${uuidv4()}` };
  const internal = { name: `service-${uuidv4()}` };
  const grant = (email: string, text: string) =>
    ({ grant: { case: "password", value: { email, password: text } } }) as const;
  const change = { email: changing.email, currentPassword: password.text, newPassword: `${password.text}!` };
  const revoked = (text: string) => ({ target: { case: "token", value: text } }) as const;

  return {
    "TokenService.IssueToken": {
      records: { action: "session.create", of: "organization", tags: false },
      call: () => nobody.tokens.issueToken(grant(person.email, password.text)),
      unchanged: [],
      refused: [
        ["LOGIN_FAILED", () => nobody.tokens.issueToken(grant(person.email, "wrong"))],
        ["LOGIN_FAILED", () => nobody.tokens.issueToken(grant("nobody@people.test", "wrong"))],
        [
          "LOGIN_FAILED",
          () => nobody.tokens.issueToken({ ...grant(person.email, password.text), organizationId: missing }),
        ],
      ],
    },
    "TokenService.RevokeToken": {
      records: { action: "session.revoke", of: "organization", tags: true },
      call: () => nobody.tokens.revokeToken(revoked(token)),
      unchanged: [
        () => nobody.tokens.revokeToken(revoked(token)),
        () => nobody.tokens.revokeToken(revoked("no token")),
        () => nobody.tokens.revokeToken(revoked(`${token.slice(0, -4)}AAAA`)),
      ],
      refused: [["REQUEST_INVALID", () => nobody.tokens.revokeToken({})]],
    },
    "ApiKeyService.CreateApiKey": {
      records: { action: "api_key.create", of: "organization", tags: true },
      call: () => admin.apiKeys.createApiKey(apiKey),
      unchanged: [],
      refused: [
        ["CREDENTIAL_MISSING", () => nobody.apiKeys.createApiKey(apiKey)],
        ["PERMISSION_DENIED", () => weak.apiKeys.createApiKey(apiKey)],
        ["PERMISSION_UNKNOWN", () => admin.apiKeys.createApiKey({ ...apiKey, permissions: ["auth.*"] })],
        ["ORGANIZATION_MISMATCH", () => admin.apiKeys.createApiKey({ ...apiKey, organizationId: missing })],
        ["REQUEST_INVALID", () => admin.apiKeys.createApiKey({ ...apiKey, name: "" })],
      ],
    },
    "ApiKeyService.RevokeApiKey": {
      records: { action: "api_key.revoke", of: "organization", tags: true },
      call: () => admin.apiKeys.revokeApiKey({ id: key.id, reason: "leaked" }),
      unchanged: [() => admin.apiKeys.revokeApiKey({ id: key.id, reason: "again" })],
      refused: [
        ["NOT_FOUND", () => admin.apiKeys.revokeApiKey({ id: missing })],
        ["PERMISSION_DENIED", () => weak.apiKeys.revokeApiKey({ id: key.id })],
      ],
    },
    "OrganizationService.CreateOrganization": {
      records: { action: "organization.create", of: "organization", tags: true },
      call: () => admin.organizations.createOrganization(organization),
      unchanged: [],
      refused: [
        ["ORGANIZATION_NAME_TAKEN", () => admin.organizations.createOrganization({ name: "ACME" })],
        ["PERMISSION_DENIED", () => weak.organizations.createOrganization({ name: "more" })],
      ],
    },
    "OrganizationService.UpdateOrganization": {
      records: { action: "organization.suspend", of: "organization", tags: true },
      call: () => admin.organizations.updateOrganization({ id: other, suspended: true }),
      unchanged: [
        () => admin.organizations.updateOrganization({ id: organizationId, suspended: false }),
        () => admin.organizations.updateOrganization({ id: organizationId }),
      ],
      refused: [
        ["NOT_FOUND", () => admin.organizations.updateOrganization({ id: missing, suspended: true })],
        [
          "PERMISSION_DENIED",
          () => weak.organizations.updateOrganization({ id: organizationId, suspended: true }),
        ],
      ],
    },
    "UserService.CreateUser": {
      records: { action: "user.create", of: "organization", tags: true },
      call: () => admin.users.createUser(user),
      unchanged: [],
      refused: [
        ["EMAIL_TAKEN", () => admin.users.createUser({ ...user, email: person.email.toUpperCase() })],
        ["ROLE_UNKNOWN", () => admin.users.createUser({ ...user, role: "boss" })],
        ["PASSWORD_TOO_SHORT", () => admin.users.createUser({ ...user, password: "short" })],
        ["PERMISSION_DENIED", () => weak.users.createUser(user)],
      ],
    },
    "UserService.UpdateUser": {
      records: { action: "user.disable", of: "organization", tags: true },
      call: () => admin.users.updateUser({ id: person.id, disabled: true }),
      unchanged: [
        () => admin.users.updateUser({ id: person.id, disabled: true }),
        () => admin.users.updateUser({ id: person.id }),
      ],
      refused: [
        ["NOT_FOUND", () => admin.users.updateUser({ id: missing, disabled: true })],
        ["LAST_OWNER", () => admin.users.updateUser({ id: service.admin.id, disabled: true })],
        ["PERMISSION_DENIED", () => weak.users.updateUser({ id: viewer.id, disabled: false })],
      ],
    },
    "UserService.ChangePassword": {
      records: { action: "user.change_password", of: "platform", tags: true },
      call: () => nobody.users.changePassword(change),
      unchanged: [],
      refused: [
        ["LOGIN_FAILED", () => nobody.users.changePassword({ ...change, currentPassword: "wrong" })],
        ["PASSWORD_TOO_SHORT", () => nobody.users.changePassword({ ...change, newPassword: "short" })],
      ],
    },
    "ServiceKeyService.CreateServiceKey": {
      records: { action: "service_key.create", of: "platform", tags: true },
      call: () => admin.serviceKeys.createServiceKey(internal),
      unchanged: [],
      refused: [
        ["SERVICE_KEY_NAME_TAKEN", () => admin.serviceKeys.createServiceKey({ name: "test" })],
        ["PERMISSION_UNKNOWN", () => admin.serviceKeys.createServiceKey({ name: "b", permissions: ["x"] })],
        ["PERMISSION_DENIED", () => weak.serviceKeys.createServiceKey(internal)],
      ],
    },
    "ServiceKeyService.RevokeServiceKey": {
      records: { action: "service_key.revoke", of: "platform", tags: true },
      call: () => admin.serviceKeys.revokeServiceKey({ id: serviceKey.id }),
      unchanged: [() => admin.serviceKeys.revokeServiceKey({ id: serviceKey.id, reason: "again" })],
      refused: [
        ["NOT_FOUND", () => admin.serviceKeys.revokeServiceKey({ id: missing })],
        ["PERMISSION_DENIED", () => weak.serviceKeys.revokeServiceKey({ id: serviceKey.id })],
      ],
    },
  };
}

interface Written {
  readonly events: { action: string; organization_id: string | null; xmin: string }[];
  readonly changes: { xid: string; xmin: string; tags: string[] }[];
}

/** What a call adds to the records, whether it is answered or refused. */
async function writtenBy(call: () => Promise<unknown>): Promise<Written> {
  const { connection } = service;
  await query(connection, "delete from audit_events; delete from changes");
  await call();
  return {
    events: await query(connection, "select action, organization_id, xmin::text from audit_events"),
    changes: await query(
      connection,
      "select (c.xid::text::numeric % 4294967296)::text as xid, c.xmin::text, tags from changes c",
    ),
  };
}

const NOTHING: Written = { events: [], changes: [] };

test("every method that has side effects is in the table, but those that only verify", async () => {
  const declared = SERVICES.flatMap((descriptor) =>
    descriptor.methods
      .filter(({ idempotency }) => idempotency !== Idempotency.NO_SIDE_EFFECTS)
      .map(({ name }) => `${descriptor.name}.${name}`),
  );
  const verifying = ["AuthenticationService.Authenticate"];
  const listed = [...Object.keys(await mutations()), ...verifying];
  assert.deepEqual(declared.toSorted(), listed.toSorted());
});

test("every mutation writes one audit event, and one change row of its own transaction where answers depend on it", async () => {
  for (const [method, { call, records }] of Object.entries(await mutations())) {
    const { events, changes } = await writtenBy(call);
    assert.equal(events.length, 1, method);
    assert.equal(events[0]?.action, records.action, method);
    assert.equal(events[0]?.organization_id !== null, records.of === "organization", method);
    assert.equal(changes.length, records.tags ? 1 : 0, method);
    for (const change of changes) {
      assert.ok(change.tags.length > 0, method);
      // The rows of both, and the number that the feed goes by, are of one transaction.
      assert.deepEqual([change.xid, change.xmin], [events[0]?.xmin, events[0]?.xmin], method);
    }
  }
});

test("a call that finds things as it asks for them writes nothing", async () => {
  for (const [method, { call, unchanged }] of Object.entries(await mutations())) {
    await call();
    for (const again of unchanged) {
      assert.deepEqual(await writtenBy(again), NOTHING, `${method}: ${again}`);
    }
  }
});

test("a call that is refused writes nothing", async () => {
  for (const [method, { refused }] of Object.entries(await mutations())) {
    assert.ok(refused.length > 0, method);
    for (const [reason, call] of refused) {
      assert.deepEqual(await writtenBy(() => refusedWith(reason, call())), NOTHING, `${method}: ${reason}`);
    }
  }
});

test("to authenticate writes nothing, for a good credential and for a bad one", async () => {
  const client = service.client(AuthenticationService);
  const ask = (value: string) => client.authenticate({ headers: [{ name: "X-API-Key", value }] });
  assert.deepEqual(await writtenBy(() => ask(service.apiKey)), NOTHING);
  assert.deepEqual(await writtenBy(() => refusedWith("API_KEY_INVALID", ask("ak_wrong"))), NOTHING);
});
