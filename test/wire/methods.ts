import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { DescMethod, JsonObject } from "@bufbuild/protobuf";
import { SERVICES } from "../../src/server/routes.ts";
import {
  ApiKeyService,
  OrganizationService,
  ServiceKeyService,
  type TestService,
  UserService,
} from "../support/service.ts";
import type { Field } from "./raw-call.ts";

/** A call that is good: each of its message's fields is set. */
export interface GoodCall {
  readonly method: DescMethod;
  readonly path: string;
  readonly credential: readonly Field[];
  readonly body: JsonObject;
}

/** One good call for each method of the service, on things that were made for it. Nothing is called yet. */
export async function goodCalls(service: TestService): Promise<readonly GoodCall[]> {
  const { organizationId } = service;
  const admin = { authorization: `Bearer ${await service.logIn()}` };
  const newUser = async () => {
    const login = { email: `${randomUUID()}@acme.test`, password: randomUUID() };
    const { user } = await service.client(UserService, admin).createUser({ ...login, role: "member" });
    return { ...login, id: user?.id ?? assert.fail("was made") };
  };
  const { id: userId, email, password } = await newUser();
  const forgetful = await newUser();
  const { apiKey } = await service
    .client(ApiKeyService, admin)
    .createApiKey({ name: "to revoke", permissions: ["calls.read"] });
  const { serviceKey } = await service
    .client(ServiceKeyService, admin)
    .createServiceKey({ name: "to-revoke" });
  const { organization } = await service
    .client(OrganizationService, admin)
    .createOrganization({ name: "To update" });
  const idOf = (made: { readonly id: string } | undefined) => made?.id ?? assert.fail("was made");
  const apiKeyId = idOf(apiKey);
  const firstPage = { pageSize: 10, pageToken: "" };
  const limits = { expireTime: "2999-01-01T00:00:00Z", allowedCidrs: ["203.0.113.0/24"] };

  const bodies: Readonly<Record<string, JsonObject>> = {
    Authenticate: {
      headers: [{ name: "X-API-Key", value: service.apiKey }],
      requiredPermissions: ["calls.read"],
      organizationId,
      audience: "",
      clientAddress: "203.0.113.7",
    },
    WhoAmI: {},
    IssueToken: { password: { email, password }, organizationId },
    RevokeToken: { token: await service.logIn(email, password) },
    CreateApiKey: {
      organizationId,
      name: "new",
      permissions: ["calls.read"],
      environment: "test",
      ...limits,
    },
    GetApiKey: { id: apiKeyId },
    ListApiKeys: { organizationId, ...firstPage },
    RevokeApiKey: { id: apiKeyId, reason: "lost" },
    CreateOrganization: { name: "New" },
    GetOrganization: { id: organizationId },
    ListOrganizations: firstPage,
    UpdateOrganization: { id: idOf(organization), suspended: true },
    CreateUser: { organizationId, email: "new@acme.test", displayName: "New", role: "viewer", password },
    GetUser: { id: userId, organizationId },
    ListUsers: { organizationId, ...firstPage },
    UpdateUser: { id: userId, organizationId, disabled: true },
    ChangePassword: {
      email: forgetful.email,
      currentPassword: forgetful.password,
      newPassword: `${forgetful.password} too`,
    },
    CreateServiceKey: { name: "new", permissions: ["calls.read"], ...limits },
    ListServiceKeys: firstPage,
    RevokeServiceKey: { id: idOf(serviceKey), reason: "lost" },
  };

  return SERVICES.flatMap((descriptor) => descriptor.methods).map((method) => ({
    method,
    path: `/${method.parent.typeName}/${method.name}`,
    credential: [["authorization", admin.authorization]],
    body: bodies[method.name] ?? assert.fail(`add a good request of ${method.name} here`),
  }));
}
