import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { type Author, mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import { BUILT_IN_ROLES } from "../permissions/built-in-roles.ts";
import { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { violates } from "../storage/storage-error.ts";
import { canonical } from "../users/canonical.ts";
import { Organization } from "./organization-entity.ts";

/**
 * Creates an organization with its built-in roles.
 *
 * @throws AuthError ORGANIZATION_NAME_TAKEN
 */
export async function createOrganization(
  storage: Storage,
  author: Author,
  name: string,
): Promise<Organization> {
  try {
    return await mutate(storage, author, async (em) => {
      const organization = await insertOrganization(em, name);
      const event = {
        organizationId: organization.id,
        action: "organization.create",
        targetId: organization.id,
        detail: { after: { name } },
      };
      return { result: organization, event, tags: [`org:${organization.id}`] };
    });
  } catch (error) {
    if (violates(error, "organizations_name_key_unique")) {
      throw new AuthError("ORGANIZATION_NAME_TAKEN", { cause: error });
    }
    throw error;
  }
}

/** The rows of a new organization, within a unit of work. */
export async function insertOrganization(
  em: EntityManager,
  name: string,
  id = uuidv7(),
): Promise<Organization> {
  const organization = em.create(Organization, { id, name, nameKey: canonical(name) });
  await em.flush();
  for (const [roleName, permissions] of Object.entries(BUILT_IN_ROLES)) {
    em.create(Role, {
      id: uuidv7(),
      organizationId: organization.id,
      name: roleName,
      permissions: [...permissions],
      builtIn: true,
    });
  }
  await em.flush();
  return organization;
}
