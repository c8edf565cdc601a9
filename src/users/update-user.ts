import { LockMode, raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import { Organization } from "../organizations/organization-entity.ts";
import { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { Membership } from "./membership-entity.ts";
import { OWNER, requireOwner } from "./ownership.ts";
import { viewOf } from "./read-users.ts";
import type { UserView } from "./user-view.ts";

/**
 * Disables or enables a user in one organization.
 *
 * @param disabled undefined leaves it as it is.
 * @throws AuthError ORGANIZATION_REQUIRED, NOT_FOUND, OWNER_REQUIRED, LAST_OWNER
 */
export async function updateUser(
  storage: Storage,
  actor: Actor,
  { id, disabled }: { readonly id: string; readonly disabled: boolean | undefined },
): Promise<UserView> {
  const organizationId = oneOrganization(actor);
  return await mutate(storage, authorOf(actor), async (em) => {
    // Two owners must not disable each other at the same time.
    await em.findOne(Organization, { id: organizationId }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    const membership = await em.findOne(Membership, { organizationId, userId: id });
    const before = await viewOf(em, membership);
    if (before.role === OWNER) {
      requireOwner(actor);
    }
    if (disabled === undefined || disabled === before.disabled) {
      return { result: before, unchanged: true };
    }
    if (disabled && before.role === OWNER) {
      await requireAnotherOwner(em, organizationId, id);
    }
    await em.nativeUpdate(
      Membership,
      { organizationId, userId: id },
      { disableTime: disabled ? raw("now()") : null },
    );
    const event = {
      organizationId,
      action: disabled ? "user.disable" : "user.enable",
      targetId: id,
      detail: { before: { disabled: before.disabled }, after: { disabled } },
    };
    return { result: { ...before, disabled }, event, tags: [`user:${id}`] };
  });
}

async function requireAnotherOwner(em: EntityManager, organizationId: string, userId: string): Promise<void> {
  const role = await em.findOneOrFail(Role, { organizationId, name: OWNER });
  const others = await em.count(Membership, {
    organizationId,
    roleId: role.id,
    userId: { $ne: userId },
    acceptTime: { $ne: null },
    disableTime: null,
  });
  if (others === 0) {
    throw new AuthError("LAST_OWNER");
  }
}
