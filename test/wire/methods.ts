import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import type { DescMethod, JsonObject } from "@bufbuild/protobuf";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { SERVICES } from "../../src/server/routes.ts";
import { addSigningKey } from "../access/cast.ts";
import { readParts } from "../support/forge-token.ts";
import {
  ApiKeyService,
  ISSUER,
  OrganizationService,
  ServiceKeyService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";
import { join } from "../users/people.ts";
import type { Field } from "./raw-call.ts";

/** A call that is good. */
export interface GoodCall {
  readonly name: string;
  readonly method: DescMethod;
  readonly path: string;
  readonly credential: readonly Field[];
  readonly body: JsonObject;
}

/**
 * Good calls for each method of the service, on things that were made for it: each of its message's fields is set,
 * by one call or, where not all can be together, by several. Nothing is called yet.
 */
export async function goodCalls(service: TestService): Promise<readonly GoodCall[]> {
  const admin = { authorization: `Bearer ${await service.logIn()}` };
  const bodies = await goodBodies(service, admin);
  // The bodies of a stream are another matter.
  const methods = SERVICES.flatMap((descriptor) => descriptor.methods).filter(
    ({ methodKind }) => methodKind === "unary",
  );
  return methods.flatMap((method) => {
    const body = bodies[method.name] ?? assert.fail(`add a good request of ${method.name} here`);
    const path = `/${method.parent.typeName}/${method.name}`;
    const headers: readonly Field[] = [["authorization", admin.authorization]];
    // Pages say where they come from.
    const origin: Field = ["origin", ISSUER];
    const variants = Array.isArray(body) ? body : [body];
    return variants.map((variant, at) => ({
      name: at === 0 ? method.name : `${method.name} ${at + 1}`,
      method,
      path,
      credential:
        variant["delegation"] === undefined
          ? variant["browserSession"] === true
            ? [...headers, origin]
            : headers
          : [["x-internal-key", service.internalKey]],
      body: variant,
    }));
  });
}

async function goodBodies(
  service: TestService,
  admin: { readonly authorization: string },
): Promise<Readonly<Record<string, JsonObject | JsonObject[]>>> {
  const { organizationId } = service;
  const apiKeys = service.client(ApiKeyService, admin);
  const serviceKeys = service.client(ServiceKeyService, admin);
  const idOf = (made: { readonly id: string } | undefined) => made?.id ?? assert.fail("was made");
  const newUser = async () => {
    const login = { email: `${randomUUID()}@acme.test`, password: randomUUID() };
    return { ...login, ...(await join(service, admin, { ...login, role: "member" })) };
  };
  const invite = async () => {
    const login = { email: `${randomUUID()}@acme.test`, password: randomUUID() };
    const invited = { email: login.email, role: "member" };
    const { invitation } = await service.client(UserService, admin).createUser(invited);
    return { ...login, invitation };
  };
  const newSession = async ({ email, password }: { readonly email: string; readonly password: string }) => {
    const grant = { case: "password", value: { email, password } } as const;
    const { accessToken, refreshToken } = await service.client(TokenService).issueToken({ grant });
    return { refreshToken, sessionId: String(readParts(accessToken).payload["sid"]) };
  };
  const newApiKey = async () => {
    const { apiKey, secret } = await apiKeys.createApiKey({ name: "good", permissions: ["calls.read"] });
    return { id: idOf(apiKey), secret };
  };
  const newServiceKey = async () =>
    idOf((await serviceKeys.createServiceKey({ name: randomUUID() })).serviceKey);
  const newRole = async () =>
    idOf((await service.client(RoleService, admin).createRole({ name: `r-${randomUUID()}` })).role);
  const overlap = { seconds: 3600n };
  const rotatedApiKey = async () => {
    const { id } = await newApiKey();
    await apiKeys.rotateApiKey({ id, overlap });
    return id;
  };
  const rotatedServiceKey = async () => {
    const id = await newServiceKey();
    await serviceKeys.rotateServiceKey({ id, overlap });
    return id;
  };
  const { organization } = await service
    .client(OrganizationService, admin)
    .createOrganization({ name: "To update" });
  const { organization: doomed } = await service
    .client(OrganizationService, admin)
    .createOrganization({ name: "To delete" });

  const person = await newUser();
  const forgetful = await newUser();
  const leaving = await newUser();
  const [begun, ended] = [await newSession(person), await newSession(person)];
  const { id: apiKeyId } = await newApiKey();
  const serviceKeyId = await newServiceKey();
  const updated = { apiKey: (await newApiKey()).id, serviceKey: await newServiceKey() };

  const firstPage = { pageSize: 10, pageToken: "" };
  const expireTime = "2999-01-01T00:00:00Z";
  const limits = { expireTime, allowedCidrs: ["203.0.113.0/24"] };
  const permissions = { values: ["calls.read"] };
  const allowedCidrs = { values: ["203.0.113.0/24"] };
  const remembered = {
    metadata: { entries: { team: "billing" } },
    rateLimit: { requests: 100, windowSeconds: 60 },
  };
  const idempotencyKey = "a-retry-is-safe";
  const narrowed = { permissions: ["calls.read"], audience: "billing", lifetime: "60s" };
  const question = {
    headers: [{ name: "X-API-Key", value: service.apiKey }],
    requiredPermissions: ["calls.read"],
    anyPermissions: ["calls.write"],
    organizationId,
    audience: "",
    clientAddress: "203.0.113.7",
    minRevision: "",
  };
  const imported = {
    organizationId,
    ownerId: service.admin.id,
    format: { prefix: "old_", length: 40, alphabet: "KEY_ALPHABET_BASE62" },
    mode: "IMPORT_MODE_ALL_OR_NOTHING",
    validateOnly: false,
  };
  const importedKey = {
    name: "imported",
    permissions: ["calls.read"],
    environment: "test",
    ...limits,
    ...remembered,
  };

  return {
    Authenticate: question,
    BatchAuthenticate: { requests: [question] },
    Explain: { request: question },
    WhoAmI: {},
    IssueToken: [
      { password: { email: person.email, password: person.password }, organizationId, browserSession: true },
      { refreshToken: { refreshToken: begun.refreshToken }, organizationId },
      { apiKey: { apiKey: service.apiKey, ...narrowed }, organizationId },
      { delegation: { userId: person.id, ...narrowed }, organizationId },
    ],
    RevokeToken: [
      { token: await service.logIn(person.email, person.password) },
      { sessionId: ended.sessionId, organizationId },
      { userId: leaving.id, organizationId },
      { browserSession: true },
    ],
    ListSessions: { organizationId, ...firstPage, userId: person.id },
    CreateApiKey: {
      organizationId,
      name: "new",
      permissions: ["calls.read"],
      environment: "test",
      ...limits,
      ...remembered,
      idempotencyKey,
    },
    GetApiKey: { id: apiKeyId },
    ListApiKeys: {
      organizationId,
      ...firstPage,
      state: "API_KEY_STATE_ACTIVE",
      ownerId: service.admin.id,
      nameContains: "new",
      environment: "test",
    },
    RevokeApiKey: { id: (await newApiKey()).id, reason: "lost" },
    UpdateApiKey: [
      { id: updated.apiKey, name: "newer", permissions, expireTime, allowedCidrs, ...remembered },
      { id: updated.apiKey, neverExpires: true, unlimited: true },
    ],
    RotateApiKey: { id: (await newApiKey()).id, overlap: "60s" },
    CancelRotation: { id: await rotatedApiKey() },
    FinishRotation: { id: await rotatedApiKey() },
    RevokeOwnApiKey: { apiKey: (await newApiKey()).secret, reason: "lost" },
    ImportApiKeys: [
      {
        ...imported,
        hashing: { algorithm: "KEY_HASH_ALGORITHM_HMAC_SHA256", hmacSecret: "c2VjcmV0" },
        keys: [{ ...importedKey, hash: createHash("sha256").update(randomUUID()).digest("base64") }],
      },
      {
        ...imported,
        hashing: { algorithm: "KEY_HASH_ALGORITHM_BCRYPT" },
        keys: [
          {
            ...importedKey,
            hash: Buffer.from("$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C").toString(
              "base64",
            ),
            lookupPrefix: "old_Zq3v",
          },
        ],
      },
    ],
    GetApiKeyUsage: { id: apiKeyId, days: 7 },
    CreateOrganization: { name: "New", idempotencyKey },
    GetOrganization: { id: organizationId },
    ListOrganizations: firstPage,
    UpdateOrganization: { id: idOf(organization), name: "Updated", suspended: true },
    DeleteOrganization: { id: idOf(doomed), name: "To delete" },
    CreateUser: {
      organizationId,
      email: "new@acme.test",
      displayName: "New",
      role: "viewer",
      password: person.password,
      idempotencyKey,
    },
    GetUser: { id: person.id, organizationId },
    ListUsers: { organizationId, ...firstPage },
    UpdateUser: {
      id: person.id,
      organizationId,
      role: "viewer",
      disabled: true,
      displayName: "Newer",
    },
    RemoveMembership: { id: leaving.id, organizationId, newOwnerId: service.admin.id },
    ImportUsers: {
      users: [
        {
          email: `${randomUUID()}@old.test`,
          displayName: "Imported",
          organizationId,
          role: "viewer",
          passwordHash: "$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
        },
      ],
      mode: "IMPORT_MODE_ALL_OR_NOTHING",
      validateOnly: false,
    },
    ChangePassword: {
      email: forgetful.email,
      currentPassword: forgetful.password,
      newPassword: `${forgetful.password} too`,
      keepSessions: true,
    },
    AcceptMembership: await invite(),
    ResetPassword: { id: (await newUser()).id, organizationId },
    DeleteUser: { id: (await newUser()).id, newOwnerId: service.admin.id },
    ListMemberships: { id: person.id, ...firstPage },
    CreateRole: { organizationId, name: "new", permissions, idempotencyKey },
    ListRoles: { organizationId, ...firstPage },
    UpdateRole: { id: await newRole(), name: "newer", permissions },
    DeleteRole: { id: await newRole() },
    ListPermissions: {},
    DefinePermission: {
      name: "new.permission",
      scope: "PERMISSION_SCOPE_ORGANIZATION",
      description: "A new one",
    },
    CreateServiceKey: { name: "new", permissions: ["calls.read"], ...limits, idempotencyKey },
    ListServiceKeys: firstPage,
    RevokeServiceKey: { id: await newServiceKey(), reason: "lost" },
    GetServiceKey: { id: serviceKeyId },
    UpdateServiceKey: [
      { id: updated.serviceKey, permissions, expireTime, allowedCidrs },
      { id: updated.serviceKey, neverExpires: true },
    ],
    RotateServiceKey: { id: await newServiceKey(), overlap: "60s" },
    CancelServiceKeyRotation: { id: await rotatedServiceKey() },
    FinishServiceKeyRotation: { id: await rotatedServiceKey() },
    GetServiceKeyUsage: { id: serviceKeyId, days: 7 },
    ListSigningKeys: firstPage,
    RotateSigningKey: {},
    RevokeSigningKey: { id: (await addSigningKey(service.core)).kid, reason: "leaked" },
    ListAuditEvents: [
      {
        organizationId,
        ...firstPage,
        startTime: "2020-01-01T00:00:00Z",
        endTime: expireTime,
        actorId: service.admin.id,
        actionPrefix: "api_key.",
        targetId: apiKeyId,
      },
      { record: "platform" },
    ],
    VerifyAuditLog: [{ organizationId, pageToken: "", checkpoint: "a.b.c" }, { record: "platform" }],
    ListAuditCheckpoints: [{ organizationId, ...firstPage }, { record: "platform" }],
  };
}
