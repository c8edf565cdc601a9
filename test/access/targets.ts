import type { DescMethod } from "@bufbuild/protobuf";
import { v4 as uuidv4 } from "uuid";
import type { Tenant, World } from "./actors.ts";
import { addApiKey, addRole, addRotation, addServiceKey, addSigningKey, addUser } from "./cast.ts";

// What calls name. A call that changes what it names gets one of its own, so that no call finds what another
// has left.

/** The id of a thing that is there already, of the kind that a service is about. */
export function standingId({ parent, name }: DescMethod, tenant: Tenant, world: World): string {
  const ids: Record<string, string> = {
    ApiKeyService: tenant.apiKeyId,
    OrganizationService: tenant.id,
    RoleService: tenant.roleId,
    ServiceKeyService: world.serviceKeyId,
    SigningKeyService: world.signingKeyId,
    UserService: tenant.member.id,
  };
  const id = ids[parent.name];
  if (id === undefined) {
    throw new Error(`test/access/targets.ts does not say what ${name} names`);
  }
  return id;
}

/** The id of a thing that nobody else names; of a key whose rotation is going on, where the method is about that. */
export async function freshId(method: DescMethod, tenant: Tenant, world: World): Promise<string> {
  const { core } = world.service;
  const isAboutRotation = /^(Cancel|Finish)/.test(method.name);
  switch (method.parent.name) {
    case "ApiKeyService": {
      const owner = { userId: tenant.ownerId };
      const key = await addApiKey(core, { organizationId: tenant.id, owner, permissions: ["calls.read"] });
      if (isAboutRotation) {
        await addRotation(core, "api_key", key.id, tenant.id);
      }
      return key.id;
    }
    case "ServiceKeyService": {
      const key = await addServiceKey(core, { permissions: ["calls.read"] });
      if (isAboutRotation) {
        await addRotation(core, "service_key", key.id);
      }
      return key.id;
    }
    case "SigningKeyService":
      return (await addSigningKey(core)).kid;
    case "RoleService":
      return await addRole(core, {
        organizationId: tenant.id,
        name: `role-${uuidv4().slice(0, 8)}`,
        permissions: ["calls.read"],
      });
    case "UserService": {
      const { password } = world;
      return (await addUser(core, { organizationId: tenant.id, role: "member", password })).id;
    }
    default:
      return standingId(method, tenant, world);
  }
}
