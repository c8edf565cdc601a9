import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { type Actor, authorOf } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { BUILT_IN_ROLES } from "../permissions/built-in-roles.ts";
import { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { canonical } from "../users/canonical.ts";
import { asNameTaken } from "./name-taken.ts";
import { Organization } from "./organization-entity.ts";

/**
 * Creates an organization with its built-in roles.
 *
 * @throws AuthError ORGANIZATION_NAME_TAKEN, and what holdActor() throws.
 */
export async function createOrganization(
  storage: Storage,
  actor: Actor,
  name: string,
): Promise<Organization> {
  const change = mutate(storage, authorOf(actor), async (em) => {
    await holdActor(em, actor);
    const organization = await insertOrganization(em, name);
    const event = {
      organizationId: organization.id,
      action: "organization.create",
      targetId: organization.id,
      detail: { after: { name } },
    };
    return { result: organization, event, tags: [`org:${organization.id}`] };
  });
  return await asNameTaken(change);
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
