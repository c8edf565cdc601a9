import type { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Actor } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import { checkGrant } from "../permissions/grant.ts";
import { Role } from "../permissions/role-entity.ts";
import { OWNER, requireOwner } from "./ownership.ts";

/**
 * The role of a name, if it is the actor's to give.
 *
 * @param lockMode PESSIMISTIC_READ holds it until the unit of work is done: it is neither deleted nor does it
 * come to allow more before somebody has it.
 * @throws AuthError ROLE_UNKNOWN, OWNER_REQUIRED, PERMISSION_NOT_HELD
 */
export async function grantableRole(
  em: EntityManager,
  actor: Actor,
  organizationId: string,
  name: string,
  lockMode?: LockMode.PESSIMISTIC_READ,
): Promise<Role> {
  const role = await em.findOne(Role, { organizationId, name }, lockMode && { lockMode, refresh: true });
  if (role === null) {
    throw new AuthError("ROLE_UNKNOWN");
  }
  requireGrantable(actor, role);
  return role;
}

/** @throws AuthError OWNER_REQUIRED, PERMISSION_NOT_HELD */
export function requireGrantable(actor: Actor, role: Role): void {
  if (role.name === OWNER) {
    requireOwner(actor);
  }
  checkGrant(actor.decision, role.permissions, "role");
}
