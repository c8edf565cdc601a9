import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Actor } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { AuthError } from "../errors.ts";
import { holdOrganizations } from "./hold-organizations.ts";
import { LIVE_ORGANIZATION, Organization } from "./organization-entity.ts";

/**
 * Locks an organization that is to be changed, and holds the actor. Two who change each other's do not wait for
 * each other: organizations are locked in the order of their ids.
 *
 * @throws AuthError NOT_FOUND, and what holdActor() throws.
 */
export async function lockOrganization(em: EntityManager, actor: Actor, id: string): Promise<Organization> {
  const own = actor.decision.organization?.id;
  if (own !== undefined && own < id) {
    await holdOrganizations(em, [own]);
  }
  const organization = await em.findOne(
    Organization,
    { id, ...LIVE_ORGANIZATION },
    { lockMode: LockMode.PESSIMISTIC_WRITE },
  );
  if (organization === null) {
    throw new AuthError("NOT_FOUND");
  }
  await holdActor(em, actor);
  return organization;
}
