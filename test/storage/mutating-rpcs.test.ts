import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import { v4 as uuidv4 } from "uuid";
import type { Reason } from "../../src/errors.ts";
import { PermissionScope } from "../../src/gen/latchkey/v1/access_pb.ts";
import { ImportMode, KeyAlphabet, KeyHashAlgorithm } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { SigningKeyService } from "../../src/gen/latchkey/v1/signing_key_pb.ts";
import { SERVICES } from "../../src/server/routes.ts";
import {
  addApiKey,
  addOrganization,
  addRole,
  addRotation,
  addServiceKey,
  addSigningKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { delegate } from "../credentials/token-grants.ts";
import { hashOf, importKey, keyOf, oldKey, untilRehashed } from "../imported-keys/import.ts";
import { someone } from "../imported-users/people.ts";
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
import { until } from "../support/until.ts";

interface Records {
  readonly action: string;
  /** Of an organization's record, or of the platform's. */
  readonly of: "organization" | "platform";
  /** Whether cached answers depend on what was changed. */
  readonly tags: boolean;
  /** Whose deed it is. By default the administrator's, or that of a service on their behalf. */
  readonly author?: { readonly type: "user" | "api_key"; readonly id: string };
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
  readonly roles: Client<typeof RoleService>;
  readonly serviceKeys: Client<typeof ServiceKeyService>;
  readonly signingKeys: Client<typeof SigningKeyService>;
  readonly tokens: Client<typeof TokenService>;
  readonly users: Client<typeof UserService>;
}

before(async () => {
  service = await startService();
  password = await makePassword(service.core);
  const organizationId = service.organizationId;
  viewer = await addUser(service.core, { organizationId, role: "viewer", password });
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  clients = {
    admin: clientsOf(bearer(await service.logIn())),
    viewer: clientsOf(bearer(await service.logIn(viewer.email, password.text))),
    nobody: clientsOf({}),
  };
});
after(() => service.stop());

function clientsOf(headers: Record<string, string>): Clients {
  return {
    apiKeys: service.client(ApiKeyService, headers),
    organizations: service.client(OrganizationService, headers),
    roles: service.client(RoleService, headers),
    serviceKeys: service.client(ServiceKeyService, headers),
    signingKeys: service.client(SigningKeyService, headers),
    tokens: service.client(TokenService, headers),
    users: service.client(UserService, headers),
  };
}

/** A token with which a service acts on behalf of the administrator, and the service's id. */
async function delegatedToAdmin(): Promise<{ token: string; id: string }> {
  const key = await addServiceKey(service.core, { permissions: ["*"] });
  const caller = { "x-internal-key": key.text };
  const { accessToken: token } = await delegate(service, caller, { userId: service.admin.id });
  return { token, id: key.id };
}

const missing = uuidv4();

async function mutations(admin = clients.admin): Promise<Record<string, Mutating>> {
  const { viewer: weak, nobody } = clients;
  const { organizationId, core } = service;
  const owner = { userId: service.admin.id };
  const key = await addApiKey(core, { organizationId, owner, permissions: ["calls.read"] });
  const newKey = () => addApiKey(core, { organizationId, owner, permissions: ["calls.read"] });
  const rotatedKey = async () => {
    const { id } = await newKey();
    await addRotation(core, "api_key", id, organizationId);
    return id;
  };
  const newServiceKey = () => addServiceKey(core, { permissions: ["calls.read"] });
  const rotatedServiceKey = async () => {
    const { id } = await newServiceKey();
    await addRotation(core, "service_key", id);
    return id;
  };
  const newRole = (permissions: string[]) =>
    addRole(core, { organizationId, name: `role-${uuidv4()}`, permissions });
  const serviceKey = await newServiceKey();
  const held = await newKey();
  const keys = {
    updated: (await newKey()).id,
    rotated: (await newKey()).id,
    cancelled: await rotatedKey(),
    finished: await rotatedKey(),
    held: held.text,
    heldId: held.id,
    revoked: await newKey(),
  };
  await admin.apiKeys.revokeApiKey({ id: keys.revoked.id });
  const serviceKeys = {
    updated: (await newServiceKey()).id,
    rotated: (await newServiceKey()).id,
    cancelled: await rotatedServiceKey(),
    finished: await rotatedServiceKey(),
    revoked: (await newServiceKey()).id,
  };
  await admin.serviceKeys.revokeServiceKey({ id: serviceKeys.revoked });
  const { kid: signingKeyId } = await addSigningKey(core);
  const roles = { updated: await newRole(["calls.read"]), deleted: await newRole([]) };
  const [builtIn] = (await admin.roles.listRoles({})).roles;
  const leaving = await addUser(core, { organizationId, role: "member", password });
  const person = await addUser(core, { organizationId, role: "member", password });
  const changing = await addUser(core, { organizationId, role: "member", password });
  const token = await service.logIn(person.email, password.text);
  const forgetful = await addUser(core, { organizationId, role: "member", password });
  const deleted = await addUser(core, { organizationId, role: "member", password });
  const invite = async () => {
    const email = `${uuidv4()}@people.test`;
    const { user: invited, invitation } = await clients.admin.users.createUser({ email, role: "viewer" });
    return { id: invited?.id ?? "", email, invitation, password: password.text };
  };
  const proofOf = ({ id: _, ...proof }: Awaited<ReturnType<typeof invite>>) => proof;
  const [acceptance, waiting] = [await invite(), await invite()];

  const other = await addOrganization(core);
  const doomed = { name: `org ${uuidv4()}`, id: "" };
  doomed.id = await addOrganization(core, doomed.name);
  const people = { users: [someone(service)], mode: ImportMode.ALL_OR_NOTHING };
  const badPeople = [someone(service), someone(service, { passwordHash: "hunter2" })];
  const apiKey = { name: "key", permissions: ["calls.read"] };
  const user = { email: `${uuidv4()}@people.test`, role: "viewer", password: password.text };
  const organization = { name: `org ${uuidv4()}` };
  const internal = { name: `service-${uuidv4()}` };
  const grant = (email: string, text: string) =>
    ({ grant: { case: "password", value: { email, password: text } } }) as const;
  const change = { email: changing.email, currentPassword: password.text, newPassword: `${password.text}!` };
  const overlap = { seconds: 60n };
  const role = { name: `role-${uuidv4()}`, permissions: { values: ["calls.read"] } };
  const permission = {
    name: `test.p${uuidv4().slice(0, 8)}`,
    scope: PermissionScope.ORGANIZATION,
    description: "test",
  };
  const imported = {
    organizationId,
    ownerId: owner.userId,
    format: { prefix: "old_", length: 40, alphabet: KeyAlphabet.BASE62 },
    hashing: { algorithm: KeyHashAlgorithm.SHA256 },
    mode: ImportMode.ALL_OR_NOTHING,
    keys: [{ name: "imported", permissions: ["calls.read"], hash: randomBytes(32) }],
  };
  const badKeys = [
    { name: "good", permissions: ["calls.read"], hash: randomBytes(32) },
    { name: "", permissions: ["calls.read"], hash: randomBytes(32) },
  ];
  const revoked = (text: string) => ({ target: { case: "token", value: text } }) as const;
  const revokedOf = (id: string) => ({ target: { case: "userId", value: id } }) as const;

  return {
    "TokenService.IssueToken": {
      records: {
        action: "session.create",
        of: "organization",
        tags: false,
        author: { type: "user", id: person.id },
      },
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
      records: {
        action: "session.revoke",
        of: "organization",
        tags: true,
        author: { type: "user", id: person.id },
      },
      call: () => nobody.tokens.revokeToken(revoked(token)),
      unchanged: [
        () => nobody.tokens.revokeToken(revoked(token)),
        () => nobody.tokens.revokeToken(revoked("no token")),
        () => nobody.tokens.revokeToken(revoked(`${token.slice(0, -4)}AAAA`)),
      ],
      refused: [
        ["CREDENTIAL_MISSING", () => nobody.tokens.revokeToken({})],
        ["REQUEST_INVALID", () => admin.tokens.revokeToken({})],
        ["CREDENTIAL_MISSING", () => nobody.tokens.revokeToken(revokedOf(person.id))],
        ["PERMISSION_DENIED", () => weak.tokens.revokeToken(revokedOf(person.id))],
        ["NOT_FOUND", () => admin.tokens.revokeToken(revokedOf(missing))],
      ],
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
    "ApiKeyService.UpdateApiKey": {
      records: { action: "api_key.update", of: "organization", tags: true },
      call: () => admin.apiKeys.updateApiKey({ id: keys.updated, name: "renamed" }),
      unchanged: [
        () => admin.apiKeys.updateApiKey({ id: keys.updated, name: "renamed" }),
        () => admin.apiKeys.updateApiKey({ id: keys.updated }),
        () => admin.apiKeys.updateApiKey({ id: keys.updated, permissions: { values: ["calls.read"] } }),
      ],
      refused: [
        ["NOT_FOUND", () => admin.apiKeys.updateApiKey({ id: missing, name: "x" })],
        ["PERMISSION_DENIED", () => weak.apiKeys.updateApiKey({ id: keys.updated, name: "x" })],
        ["KEY_NOT_ACTIVE", () => admin.apiKeys.updateApiKey({ id: keys.revoked.id, name: "x" })],
        [
          "PERMISSION_UNKNOWN",
          () => admin.apiKeys.updateApiKey({ id: keys.updated, permissions: { values: ["auth.*"] } }),
        ],
        ["REQUEST_INVALID", () => admin.apiKeys.updateApiKey({ id: keys.updated, permissions: {} })],
      ],
    },
    "ApiKeyService.RotateApiKey": {
      records: { action: "api_key.rotate", of: "organization", tags: true },
      call: () => admin.apiKeys.rotateApiKey({ id: keys.rotated, overlap }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.apiKeys.rotateApiKey({ id: missing, overlap })],
        ["PERMISSION_DENIED", () => weak.apiKeys.rotateApiKey({ id: keys.rotated, overlap })],
        ["KEY_NOT_ACTIVE", () => admin.apiKeys.rotateApiKey({ id: keys.revoked.id, overlap })],
        ["ROTATION_IN_PROGRESS", () => admin.apiKeys.rotateApiKey({ id: keys.finished, overlap })],
        ["REQUEST_INVALID", () => admin.apiKeys.rotateApiKey({ id: keys.rotated })],
      ],
    },
    "ApiKeyService.CancelRotation": {
      records: { action: "api_key.cancel_rotation", of: "organization", tags: true },
      call: () => admin.apiKeys.cancelRotation({ id: keys.cancelled }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.apiKeys.cancelRotation({ id: missing })],
        ["PERMISSION_DENIED", () => weak.apiKeys.cancelRotation({ id: keys.cancelled })],
        ["KEY_NOT_ACTIVE", () => admin.apiKeys.cancelRotation({ id: keys.revoked.id })],
        ["ROTATION_NOT_IN_PROGRESS", () => admin.apiKeys.cancelRotation({ id: keys.updated })],
      ],
    },
    "ApiKeyService.FinishRotation": {
      records: { action: "api_key.finish_rotation", of: "organization", tags: true },
      call: () => admin.apiKeys.finishRotation({ id: keys.finished }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.apiKeys.finishRotation({ id: missing })],
        ["PERMISSION_DENIED", () => weak.apiKeys.finishRotation({ id: keys.finished })],
        ["KEY_NOT_ACTIVE", () => admin.apiKeys.finishRotation({ id: keys.revoked.id })],
        ["ROTATION_NOT_IN_PROGRESS", () => admin.apiKeys.finishRotation({ id: keys.updated })],
      ],
    },
    "ApiKeyService.RevokeOwnApiKey": {
      records: {
        action: "api_key.revoke",
        of: "organization",
        tags: true,
        author: { type: "api_key", id: keys.heldId },
      },
      call: () => nobody.apiKeys.revokeOwnApiKey({ apiKey: keys.held, reason: "found" }),
      unchanged: [
        () => nobody.apiKeys.revokeOwnApiKey({ apiKey: keys.held, reason: "again" }),
        () => nobody.apiKeys.revokeOwnApiKey({ apiKey: keys.revoked.text }),
      ],
      refused: [
        ["API_KEY_INVALID", () => nobody.apiKeys.revokeOwnApiKey({ apiKey: `${keys.held}x` })],
        ["API_KEY_INVALID", () => admin.apiKeys.revokeOwnApiKey({ apiKey: service.internalKey })],
        ["REQUEST_INVALID", () => nobody.apiKeys.revokeOwnApiKey({ apiKey: keys.held, reason: "a\nb" })],
      ],
    },
    "ApiKeyService.ImportApiKeys": {
      records: { action: "api_key.import", of: "organization", tags: true },
      call: () => admin.apiKeys.importApiKeys(imported),
      unchanged: [
        () => admin.apiKeys.importApiKeys(imported),
        () => admin.apiKeys.importApiKeys({ ...imported, keys: badKeys }),
        () =>
          admin.apiKeys.importApiKeys({
            ...imported,
            keys: badKeys.slice(1),
            mode: ImportMode.BEST_EFFORT,
          }),
        () =>
          admin.apiKeys.importApiKeys({
            ...imported,
            keys: badKeys,
            mode: ImportMode.BEST_EFFORT,
            validateOnly: true,
          }),
      ],
      refused: [
        ["CREDENTIAL_MISSING", () => nobody.apiKeys.importApiKeys(imported)],
        ["PERMISSION_DENIED", () => weak.apiKeys.importApiKeys(imported)],
        ["OWNER_UNKNOWN", () => admin.apiKeys.importApiKeys({ ...imported, ownerId: missing })],
        ["ORGANIZATION_UNKNOWN", () => admin.apiKeys.importApiKeys({ ...imported, organizationId: missing })],
        [
          "KEY_FORMAT_INVALID",
          () => admin.apiKeys.importApiKeys({ ...imported, format: { ...imported.format, prefix: "ak_" } }),
        ],
        ["REQUEST_INVALID", () => admin.apiKeys.importApiKeys({ ...imported, keys: [] })],
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
    "OrganizationService.DeleteOrganization": {
      records: { action: "organization.delete", of: "organization", tags: true },
      call: () => admin.organizations.deleteOrganization(doomed),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.organizations.deleteOrganization({ ...doomed, id: missing })],
        [
          "ORGANIZATION_NAME_MISMATCH",
          () => admin.organizations.deleteOrganization({ id: organizationId, name: "globex" }),
        ],
        [
          "PERMISSION_DENIED",
          () => weak.organizations.deleteOrganization({ id: organizationId, name: "acme" }),
        ],
      ],
    },
    "UserService.ImportUsers": {
      records: { action: "user.import", of: "organization", tags: true },
      call: () => admin.users.importUsers(people),
      unchanged: [
        () => admin.users.importUsers(people),
        () => admin.users.importUsers({ ...people, users: badPeople }),
        () => admin.users.importUsers({ users: badPeople.slice(1), mode: ImportMode.BEST_EFFORT }),
        () => admin.users.importUsers({ users: badPeople, mode: ImportMode.BEST_EFFORT, validateOnly: true }),
      ],
      refused: [
        ["CREDENTIAL_MISSING", () => nobody.users.importUsers(people)],
        ["PERMISSION_DENIED", () => weak.users.importUsers(people)],
        ["REQUEST_INVALID", () => admin.users.importUsers({ ...people, users: [] })],
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
    "UserService.RemoveMembership": {
      records: { action: "user.remove", of: "organization", tags: true },
      call: () => admin.users.removeMembership({ id: leaving.id, newOwnerId: service.admin.id }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.users.removeMembership({ id: missing })],
        ["LAST_OWNER", () => admin.users.removeMembership({ id: service.admin.id })],
        ["OWNER_UNKNOWN", () => admin.users.removeMembership({ id: leaving.id, newOwnerId: missing })],
        ["PERMISSION_DENIED", () => weak.users.removeMembership({ id: leaving.id })],
      ],
    },
    "UserService.AcceptMembership": {
      records: {
        action: "membership.accept",
        of: "organization",
        tags: true,
        author: { type: "user", id: acceptance.id },
      },
      call: () => nobody.users.acceptMembership(proofOf(acceptance)),
      unchanged: [],
      refused: [
        [
          "LOGIN_FAILED",
          () => nobody.users.acceptMembership({ ...proofOf(acceptance), invitation: "in_none" }),
        ],
        [
          "PASSWORD_TOO_SHORT",
          () => nobody.users.acceptMembership({ ...proofOf(waiting), password: "short" }),
        ],
      ],
    },
    "UserService.ResetPassword": {
      records: { action: "user.reset_password", of: "organization", tags: true },
      call: () => admin.users.resetPassword({ id: forgetful.id }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.users.resetPassword({ id: missing })],
        ["ACCOUNT_NOT_MANAGED", () => admin.users.resetPassword({ id: service.admin.id })],
        ["PERMISSION_DENIED", () => weak.users.resetPassword({ id: forgetful.id })],
      ],
    },
    "UserService.DeleteUser": {
      records: { action: "user.delete", of: "organization", tags: true },
      call: () => admin.users.deleteUser({ id: deleted.id }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.users.deleteUser({ id: missing })],
        ["LAST_OWNER", () => admin.users.deleteUser({ id: service.admin.id })],
        ["OWNER_UNKNOWN", () => admin.users.deleteUser({ id: forgetful.id, newOwnerId: forgetful.id })],
        ["PERMISSION_DENIED", () => weak.users.deleteUser({ id: forgetful.id })],
      ],
    },
    "RoleService.CreateRole": {
      records: { action: "role.create", of: "organization", tags: true },
      call: () => admin.roles.createRole(role),
      unchanged: [],
      refused: [
        ["ROLE_NAME_TAKEN", () => admin.roles.createRole({ name: "owner" })],
        ["PERMISSION_UNKNOWN", () => admin.roles.createRole({ ...role, permissions: { values: ["x"] } })],
        ["PERMISSION_DENIED", () => weak.roles.createRole(role)],
      ],
    },
    "RoleService.UpdateRole": {
      records: { action: "role.update", of: "organization", tags: true },
      call: () => admin.roles.updateRole({ id: roles.updated, permissions: { values: ["calls.*"] } }),
      unchanged: [
        () => admin.roles.updateRole({ id: roles.updated, permissions: { values: ["calls.*"] } }),
        () => admin.roles.updateRole({ id: roles.updated }),
      ],
      refused: [
        ["NOT_FOUND", () => admin.roles.updateRole({ id: missing, permissions: {} })],
        ["ROLE_BUILT_IN", () => admin.roles.updateRole({ id: builtIn?.id ?? "", permissions: {} })],
        ["ROLE_NAME_TAKEN", () => admin.roles.updateRole({ id: roles.updated, name: "owner" })],
        ["PERMISSION_DENIED", () => weak.roles.updateRole({ id: roles.updated, permissions: {} })],
      ],
    },
    "RoleService.DeleteRole": {
      records: { action: "role.delete", of: "organization", tags: true },
      call: () => admin.roles.deleteRole({ id: roles.deleted }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.roles.deleteRole({ id: missing })],
        ["ROLE_BUILT_IN", () => admin.roles.deleteRole({ id: builtIn?.id ?? "" })],
        ["PERMISSION_DENIED", () => weak.roles.deleteRole({ id: roles.deleted })],
      ],
    },
    "RoleService.DefinePermission": {
      records: { action: "permission.create", of: "platform", tags: true },
      call: () => admin.roles.definePermission(permission),
      unchanged: [() => admin.roles.definePermission(permission)],
      refused: [
        ["PERMISSION_RESERVED", () => admin.roles.definePermission({ ...permission, name: "auth.all" })],
        [
          "PERMISSION_NAME_TAKEN",
          () => admin.roles.definePermission({ name: "calls.read", scope: PermissionScope.PLATFORM }),
        ],
        ["PERMISSION_DENIED", () => weak.roles.definePermission(permission)],
      ],
    },
    "UserService.ChangePassword": {
      records: {
        action: "user.change_password",
        of: "platform",
        tags: true,
        author: { type: "user", id: changing.id },
      },
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
    "ServiceKeyService.UpdateServiceKey": {
      records: { action: "service_key.update", of: "platform", tags: true },
      call: () =>
        admin.serviceKeys.updateServiceKey({ id: serviceKeys.updated, permissions: { values: ["calls.*"] } }),
      unchanged: [
        () =>
          admin.serviceKeys.updateServiceKey({
            id: serviceKeys.updated,
            permissions: { values: ["calls.*"] },
          }),
        () => admin.serviceKeys.updateServiceKey({ id: serviceKeys.updated, allowedCidrs: {} }),
        () => admin.serviceKeys.updateServiceKey({ id: serviceKeys.updated }),
      ],
      refused: [
        ["NOT_FOUND", () => admin.serviceKeys.updateServiceKey({ id: missing, allowedCidrs: {} })],
        ["KEY_NOT_ACTIVE", () => admin.serviceKeys.updateServiceKey({ id: serviceKeys.revoked })],
        ["PERMISSION_DENIED", () => weak.serviceKeys.updateServiceKey({ id: serviceKeys.updated })],
      ],
    },
    "ServiceKeyService.RotateServiceKey": {
      records: { action: "service_key.rotate", of: "platform", tags: true },
      call: () => admin.serviceKeys.rotateServiceKey({ id: serviceKeys.rotated, overlap }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.serviceKeys.rotateServiceKey({ id: missing, overlap })],
        ["KEY_NOT_ACTIVE", () => admin.serviceKeys.rotateServiceKey({ id: serviceKeys.revoked, overlap })],
        [
          "ROTATION_IN_PROGRESS",
          () => admin.serviceKeys.rotateServiceKey({ id: serviceKeys.finished, overlap }),
        ],
        ["PERMISSION_DENIED", () => weak.serviceKeys.rotateServiceKey({ id: serviceKeys.rotated, overlap })],
      ],
    },
    "ServiceKeyService.CancelServiceKeyRotation": {
      records: { action: "service_key.cancel_rotation", of: "platform", tags: true },
      call: () => admin.serviceKeys.cancelServiceKeyRotation({ id: serviceKeys.cancelled }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.serviceKeys.cancelServiceKeyRotation({ id: missing })],
        [
          "ROTATION_NOT_IN_PROGRESS",
          () => admin.serviceKeys.cancelServiceKeyRotation({ id: serviceKeys.updated }),
        ],
        ["PERMISSION_DENIED", () => weak.serviceKeys.cancelServiceKeyRotation({ id: serviceKeys.cancelled })],
      ],
    },
    "ServiceKeyService.FinishServiceKeyRotation": {
      records: { action: "service_key.finish_rotation", of: "platform", tags: true },
      call: () => admin.serviceKeys.finishServiceKeyRotation({ id: serviceKeys.finished }),
      unchanged: [],
      refused: [
        ["NOT_FOUND", () => admin.serviceKeys.finishServiceKeyRotation({ id: missing })],
        [
          "ROTATION_NOT_IN_PROGRESS",
          () => admin.serviceKeys.finishServiceKeyRotation({ id: serviceKeys.updated }),
        ],
        ["PERMISSION_DENIED", () => weak.serviceKeys.finishServiceKeyRotation({ id: serviceKeys.finished })],
      ],
    },
    "SigningKeyService.RotateSigningKey": {
      records: { action: "signing_key.rotate", of: "platform", tags: true },
      call: () => admin.signingKeys.rotateSigningKey({}),
      unchanged: [() => admin.signingKeys.rotateSigningKey({})],
      refused: [["PERMISSION_DENIED", () => weak.signingKeys.rotateSigningKey({})]],
    },
    "SigningKeyService.RevokeSigningKey": {
      records: { action: "signing_key.revoke", of: "platform", tags: true },
      call: () => admin.signingKeys.revokeSigningKey({ id: signingKeyId, reason: "leaked" }),
      unchanged: [() => admin.signingKeys.revokeSigningKey({ id: signingKeyId, reason: "again" })],
      refused: [
        ["NOT_FOUND", () => admin.signingKeys.revokeSigningKey({ id: missing })],
        ["PERMISSION_DENIED", () => weak.signingKeys.revokeSigningKey({ id: signingKeyId })],
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
  const verifying = ["Authenticate", "BatchAuthenticate", "WatchRevocations"].map(
    (name) => `AuthenticationService.${name}`,
  );
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

/** Whoever calls it does not learn whether it has changed anything: see test/wire/alike.test.ts. */
const TELLS_NONE = "ApiKeyService.RevokeOwnApiKey";

test("the answer of every mutation that answers depend on tells its revision, and that of no other", async () => {
  const revisionOf = async (call: () => Promise<unknown>) =>
    (await call().then((answer) => answer as { revision?: string })).revision ?? "";
  // Once the replica knows which history of the database it is.
  await until("a revision is told", async () => {
    const name = `r-${uuidv4().slice(0, 8)}`;
    return (await revisionOf(() => clients.admin.roles.createRole({ name }))) !== "";
  });
  for (const [method, { call, unchanged, records }] of Object.entries(await mutations())) {
    // Of signing keys there is no other next one.
    await query(
      service.connection,
      "update signing_keys set revoke_time = now() where activate_time > now() and revoke_time is null",
    );
    const { changes } = await writtenBy(async () => {
      const revision = await revisionOf(call);
      assert.equal(revision !== "", records.tags && method !== TELLS_NONE, method);
    });
    assert.equal(changes.length > 0, records.tags, method);
    for (const again of unchanged) {
      assert.equal(await revisionOf(again), "", method);
    }
  }
});

interface Recorded {
  readonly actor_type: string;
  readonly actor_id: string;
  readonly on_behalf_of: string | null;
  readonly target_id: string;
  readonly request_id: string;
  readonly detail: Readonly<Record<string, unknown>>;
  /** The whole row. */
  readonly text: string;
  readonly personal: { readonly user_id: string | null; readonly data: string }[];
}

/** Whatever an answer holds that nobody else may know: each of these fields carries a secret. */
const SECRET_FIELDS = ["secret", "accessToken", "refreshToken", "invitation", "oneTimePassword"];

/**
 * Calls each method that has side effects.
 *
 * @param mayRefuse whether some may be refused: those write nothing.
 * @returns what the record then says, and the answer.
 */
async function recordedBy(
  admin?: Clients,
  mayRefuse = false,
): Promise<Map<string, Records & { row: Recorded; answer: object }>> {
  const found = new Map<string, Records & { row: Recorded; answer: object }>();
  for (const [method, { call, records }] of Object.entries(await mutations(admin))) {
    // Of signing keys there is no other next one.
    await query(
      service.connection,
      `delete from audit_personal_data; delete from audit_events;
      update signing_keys set revoke_time = now() where activate_time > now() and revoke_time is null`,
    );
    const answer = await (mayRefuse ? call().catch(() => undefined) : call());
    const rows = await query<Recorded>(
      service.connection,
      `select e.*, e::text as text, (select coalesce(jsonb_agg(p order by p.position), '[]')
        from audit_personal_data p where p.event_id = e.id) as personal
      from audit_events e`,
    );
    if (mayRefuse && rows.length === 0) {
      continue;
    }
    const [row] = rows;
    assert.ok(
      rows.length === 1 && row !== undefined && typeof answer === "object" && answer !== null,
      method,
    );
    found.set(method, { ...records, row, answer });
  }
  return found;
}

test("every event says who, from where and by which call, and what has become of what", async () => {
  for (const [method, { author, row }] of await recordedBy()) {
    const { type, id } = author ?? { type: "user", id: service.admin.id };
    assert.deepEqual([row.actor_type, row.actor_id, row.on_behalf_of], [type, id, null], method);
    assert.match(row.request_id, /^[0-9a-f-]{36}$/, method);
    assert.notEqual(row.target_id, "", method);
    const source = row.personal.find(({ data }) => "sourceAddress" in JSON.parse(data));
    assert.equal(source?.data, '{"sourceAddress":"127.0.0.1"}', method);
    // An address tells of a person, with whom it is erased: of whoever holds a secret nobody knows whose it is.
    assert.equal(source.user_id, type === "user" ? id : null, method);
    // What a session and an import are told by is their own.
    if (!/\.(IssueToken|RevokeToken|ImportApiKeys)$/.test(method)) {
      assert.ok("before" in row.detail || "after" in row.detail, method);
    }
  }
});

test("no event's row has a secret or tells of a person, and no row at all has a secret; nor has the log", async () => {
  for (const [method, { row, answer }] of await recordedBy()) {
    assert.doesNotMatch(row.text, /@|127\.0\.0\.1|\$argon2|eyJ/, method);
    const secrets = Object.entries(answer)
      .filter(([name, value]) => SECRET_FIELDS.includes(name) && value !== "")
      .map(([, value]) => String(value));
    const told = [row.text, ...row.personal.map(({ data }) => data), ...service.logged].join("\n");
    for (const secret of [...secrets, password.text]) {
      assert.ok(!told.includes(secret), method);
    }
    // Whatever part of it is random.
    for (const secret of secrets.flatMap((text) => text.split(/[._]/)).filter((part) => part.length > 20)) {
      assert.ok(!told.includes(secret), method);
    }
  }
});

test("what a service does on somebody's behalf is on record as the service's, for them", async () => {
  const { token, id } = await delegatedToAdmin();
  const delegated = clientsOf({ authorization: `Bearer ${token}` });
  // Such a token hands out nothing that would outlive it or reach further, such as keys and roles of patterns.
  const found = await recordedBy(delegated, true);
  assert.ok(found.size > 20, `only ${[...found.keys()]}`);
  for (const [method, { author, row }] of found) {
    const expected =
      author === undefined ? ["service", id, service.admin.id] : [author.type, author.id, null];
    assert.deepEqual([row.actor_type, row.actor_id, row.on_behalf_of], expected, method);
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

test("to authenticate, or to have it explained, writes nothing, for a good credential and for a bad one", async () => {
  const client = service.client(AuthenticationService, { "x-internal-key": service.internalKey });
  const about = (value: string) => ({ headers: [{ name: "X-API-Key", value }] });
  const ask = (value: string) => client.authenticate(about(value));
  assert.deepEqual(await writtenBy(() => ask(service.apiKey)), NOTHING);
  assert.deepEqual(await writtenBy(() => refusedWith("API_KEY_INVALID", ask("ak_wrong"))), NOTHING);
  for (const text of [service.apiKey, "ak_wrong"]) {
    assert.deepEqual(await writtenBy(() => client.explain({ request: about(text) })), NOTHING);
  }
});

test("to have an imported key explained is not its first use: it stays where it is", async () => {
  const client = service.client(AuthenticationService, { "x-internal-key": service.internalKey });
  const about = (value: string) => ({ headers: [{ name: "X-API-Key", value }] });
  const [explained, used] = [oldKey(), oldKey()];
  const ids = [await importKey(service, keyOf(explained)), await importKey(service, keyOf(used))] as const;
  const { allowed } = await client.explain({ request: about(explained) });
  assert.ok(allowed);
  await client.authenticate(about(used));
  // Those that are used come to their slots one after the other.
  await untilRehashed(service, ids[1]);
  assert.equal((await hashOf(service, ids[0])).rehashed, false);
});

test("the answer of a create that can be repeated is kept in the create's own transaction", async () => {
  const { admin } = clients;
  const once = () => ({ idempotencyKey: uuidv4() });
  const creates: Readonly<Record<string, () => Promise<unknown>>> = {
    CreateApiKey: () => admin.apiKeys.createApiKey({ name: "once", permissions: ["calls.read"], ...once() }),
    CreateOrganization: () => admin.organizations.createOrganization({ name: `once ${uuidv4()}`, ...once() }),
    CreateRole: () => admin.roles.createRole({ name: `once-${uuidv4()}`, ...once() }),
    CreateServiceKey: () => admin.serviceKeys.createServiceKey({ name: `once-${uuidv4()}`, ...once() }),
    CreateUser: () =>
      admin.users.createUser({
        email: `${uuidv4()}@people.test`,
        role: "viewer",
        password: password.text,
        ...once(),
      }),
  };
  const declared = SERVICES.flatMap(({ methods }) => methods).filter(
    ({ input }) => input.field["idempotencyKey"] !== undefined,
  );
  assert.deepEqual(declared.map(({ name }) => name).toSorted(), Object.keys(creates).toSorted());
  for (const [method, create] of Object.entries(creates)) {
    await query(service.connection, "delete from idempotency_keys");
    const { events, changes } = await writtenBy(create);
    const kept = await query<{ xmin: string; method: string }>(
      service.connection,
      "select xmin::text, method from idempotency_keys",
    );
    assert.deepEqual(
      kept.map((row) => [row.method.split("/")[1], row.xmin]),
      [[method, events[0]?.xmin]],
    );
    assert.deepEqual([events.length, changes.length, changes[0]?.xid], [1, 1, events[0]?.xmin], method);
  }
});
