import type { EntityManager } from "@mikro-orm/postgresql";
import type { Actor } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import { checkGrant } from "../permissions/grant.ts";
import { Role } from "../permissions/role-entity.ts";
import { ACTIVE_MEMBER, Membership } from "./membership-entity.ts";
import { User } from "./user-entity.ts";
import type { UserView } from "./user-view.ts";

export const OWNER = "owner";

/** Whether the actor manages users by the platform's right, above every organization's own rules. */
export function actsForPlatform({ decision }: Actor): boolean {
  return decision.permissions.has("platform.users.write");
}

/**
 * Only an owner of the organization, or the platform, makes, changes or removes an owner.
 *
 * @throws AuthError OWNER_REQUIRED
 */
export function requireOwner(actor: Actor): void {
  const { principal, organization } = actor.decision;
  const isOwner = principal.role === OWNER && organization?.id === actor.organizationId;
  if (!isOwner && !actsForPlatform(actor)) {
    throw new AuthError("OWNER_REQUIRED");
  }
}

/**
 * Checks that an actor may change what a member is: an owner only as an owner, and an administrator of the
 * platform only for the platform, whatever else they are.
 *
 * @throws AuthError OWNER_REQUIRED, PERMISSION_NOT_HELD
 */
export async function requireAuthorityOver(em: EntityManager, actor: Actor, target: UserView): Promise<void> {
  if (target.role === OWNER) {
    requireOwner(actor);
  }
  const { platformRole } = await em.findOneOrFail(User, { id: target.id });
  if (platformRole !== null) {
    checkGrant(actor.decision, actor.decision.catalogue.platform, "service-key");
  }
}

/**
 * Checks that an organization keeps an owner who can act when this one no longer is. Its members are locked.
 *
 * @throws AuthError LAST_OWNER
 */
export async function requireAnotherOwner(
  em: EntityManager,
  { organizationId, id }: Pick<UserView, "organizationId" | "id">,
): Promise<void> {
  const role = await em.findOneOrFail(Role, { organizationId, name: OWNER });
  const others = { organizationId, roleId: role.id, userId: { $ne: id }, ...ACTIVE_MEMBER };
  if ((await em.count(Membership, others)) === 0) {
    throw new AuthError("LAST_OWNER");
  }
}
