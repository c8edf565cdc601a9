import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, oneOrganization, within } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../storage/page.ts";
import { Role } from "./role-entity.ts";

/** @throws AuthError ORGANIZATION_REQUIRED, PAGE_TOKEN_INVALID */
export async function listRoles(
  parts: { readonly storage: Storage; readonly pager: Pager },
  actor: Actor,
  request: PageRequest,
): Promise<Page<Role>> {
  const organizationId = oneOrganization(actor);
  return await parts.pager.page(`roles ${organizationId}`, request, async (after, limit) => {
    const condition = after === undefined ? {} : { id: { $gt: after } };
    const options = { orderBy: { id: "asc" }, limit } as const;
    return await parts.storage.fork().find(Role, { organizationId, ...condition }, options);
  });
}

/**
 * A role that may be changed, locked until the unit of work is done.
 *
 * @throws AuthError NOT_FOUND, also for a role beyond the actor's reach, and ROLE_BUILT_IN.
 */
export async function lockCustomRole(em: EntityManager, actor: Actor, id: string): Promise<Role> {
  const role = await em.findOne(
    Role,
    { id, ...within(actor) },
    { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true },
  );
  if (role === null) {
    throw new AuthError("NOT_FOUND");
  }
  if (role.builtIn) {
    throw new AuthError("ROLE_BUILT_IN");
  }
  return role;
}
