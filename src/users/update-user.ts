import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { mutate } from "../changes/mutate.ts";
import { Session } from "../credentials/access-token/session-entity.ts";
import { AuthError } from "../errors.ts";
import { checkGrant } from "../permissions/grant.ts";
import { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { Membership } from "./membership-entity.ts";
import { OWNER, requireOwner } from "./ownership.ts";
import { viewOf } from "./read-users.ts";
import { User } from "./user-entity.ts";
import type { UserView } from "./user-view.ts";

/**
 * Disables or enables a user in one organization.
 *
 * @param disabled undefined leaves it as it is.
 * @throws AuthError ORGANIZATION_REQUIRED, NOT_FOUND, OWNER_REQUIRED, PERMISSION_NOT_HELD, LAST_OWNER
 */
export async function updateUser(
  storage: Storage,
  actor: Actor,
  { id, disabled }: { readonly id: string; readonly disabled: boolean | undefined },
): Promise<UserView> {
  const organizationId = oneOrganization(actor);
  return await mutate(storage, authorOf(actor), async (em) => {
    // Two owners must not disable each other at the same time. What refers to the organization goes on:
    // whoever is held while they create something would otherwise wait for us, and we for them.
    await em.execute("select from organizations where id = ? for no key update", [organizationId]);
    const membership = await em.findOne(Membership, { organizationId, userId: id });
    const before = await viewOf(em, membership);
    if (disabled === undefined || disabled === before.disabled) {
      return { result: before, unchanged: true };
    }
    await requireAuthority(em, actor, before, disabled);
    if (disabled && before.role === OWNER) {
      await requireAnotherOwner(em, organizationId, id);
    }
    await em.nativeUpdate(
      Membership,
      { organizationId, userId: id },
      { disableTime: disabled ? raw("now()") : null },
    );
    if (disabled) {
      // Whoever is let in again begins anew.
      const sessions = { organizationId, userId: before.id, revokeTime: null };
      await em.nativeUpdate(Session, sessions, { revokeTime: raw("now()") });
    }
    const event = {
      organizationId,
      action: disabled ? "user.disable" : "user.enable",
      targetId: before.id,
      detail: { before: { disabled: before.disabled }, after: { disabled } },
    };
    return { result: { ...before, disabled }, event, tags: [`user:${before.id}`] };
  });
}

/** Nobody lets in whoever holds more than they do, and only the platform locks out its administrators. */
async function requireAuthority(
  em: EntityManager,
  actor: Actor,
  target: UserView,
  disabled: boolean,
): Promise<void> {
  if (target.role === OWNER) {
    requireOwner(actor);
  }
  const { platformRole } = await em.findOneOrFail(User, { id: target.id });
  if (platformRole !== null) {
    checkGrant(actor.decision, actor.decision.catalogue.platform, "service-key");
  }
  if (!disabled) {
    const { organizationId, role: name } = target;
    const role = await em.findOneOrFail(Role, { organizationId, name });
    checkGrant(actor.decision, role.permissions, "role");
  }
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
