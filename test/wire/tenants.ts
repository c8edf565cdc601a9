import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { type Role, RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import {
  ApiKeyService,
  OrganizationService,
  ServiceKeyService,
  type TestService,
  UserService,
} from "../support/service.ts";
import { join } from "../users/people.ts";
import type { Field } from "./raw-call.ts";

/** An id that is one, of nothing. */
export const nobody = "0190a5b2-7c1e-7000-8000-0123456789ab";

export function idOf(made: { readonly id: string } | undefined): string {
  return made?.id ?? assert.fail("was made");
}

/** The organization of a service and another one, and what makes things in the first. */
export async function twoTenants(service: TestService) {
  const admin = { authorization: `Bearer ${await service.logIn()}` };
  const apiKeys = service.client(ApiKeyService, admin);
  const serviceKeys = service.client(ServiceKeyService, admin);
  const organizations = service.client(OrganizationService, admin);
  const users = service.client(UserService, admin);
  const roles = service.client(RoleService, admin);

  async function newUser(organizationId = service.organizationId) {
    const email = `${randomUUID()}@acme.test`;
    const password = randomUUID();
    const { id } = await join(service, admin, { organizationId, email, password, role: "admin" });
    const credential: Field = ["authorization", `Bearer ${await service.logIn(email, password)}`];
    return { id, email, password, credential };
  }
  async function newApiKey() {
    const { apiKey, secret } = await apiKeys.createApiKey({ name: "x", permissions: ["calls.read"] });
    return { id: idOf(apiKey), secret };
  }
  async function newServiceKey() {
    return idOf((await serviceKeys.createServiceKey({ name: randomUUID() })).serviceKey);
  }
  async function newRole(): Promise<Role> {
    return (await roles.createRole({ name: `r-${randomUUID()}` })).role ?? assert.fail("was made");
  }
  async function otherTenant() {
    const { organization } = await organizations.createOrganization({ name: "Umbrella" });
    const organizationId = idOf(organization);
    const user = await newUser(organizationId);
    const headers = { [user.credential[0]]: user.credential[1] };
    const { apiKey } = await service
      .client(ApiKeyService, headers)
      .createApiKey({ name: "theirs", permissions: ["calls.read"] });
    const { role } = await service.client(RoleService, headers).createRole({ name: "theirs" });
    return { organizationId, user, headers, apiKeyId: idOf(apiKey), roleId: idOf(role) };
  }

  return {
    ...{ apiKeys, serviceKeys, organizations, users, roles },
    ...{ newUser, newApiKey, newServiceKey, newRole },
    /** Whoever may do everything. */
    platform: ["authorization", admin.authorization] as Field,
    /** An administrator of the one organization only. */
    ordinary: (await newUser()).credential,
    /** Another organization, with one of each thing. */
    theirs: await otherTenant(),
  };
}
