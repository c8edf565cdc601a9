import { LockMode, raw } from "@mikro-orm/core";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { type NarrowedKey, narrowedKeys } from "../credentials/api-key/narrowed-keys.ts";
import { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { endSessions } from "./end-sessions.ts";
import { grantableRole, requireGrantable } from "./grantable-role.ts";
import { lockMembers } from "./lock-members.ts";
import { Membership } from "./membership-entity.ts";
import { OWNER, requireAnotherOwner, requireAuthorityOver } from "./ownership.ts";
import { findMember, viewOf } from "./read-users.ts";
import type { UserView } from "./user-view.ts";

/** What to change of a membership. A field that is undefined stays as it is. */
export interface UserUpdate {
  readonly id: string;
  /** The name of a role of the organization. */
  readonly role: string | undefined;
  readonly disabled: boolean | undefined;
  /** What the organization calls them. */
  readonly displayName: string | undefined;
}

export interface UpdatedUser {
  readonly user: UserView;
  /** Those of the user's API keys that the new role takes something from. */
  readonly narrowedKeys: NarrowedKey[];
}

/**
 * Gives a user another role or name in one organization, and disables or enables them there.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, NOT_FOUND, ROLE_UNKNOWN, OWNER_REQUIRED, PERMISSION_NOT_HELD,
 * LAST_OWNER, and what holdActor() throws.
 */
export async function updateUser(storage: Storage, actor: Actor, asked: UserUpdate): Promise<UpdatedUser> {
  const organizationId = oneOrganization(actor);
  return await mutate(storage, authorOf(actor), async (em) => {
    await lockMembers(em, organizationId);
    await holdActor(em, actor);
    const before = await viewOf(em, await findMember(em, organizationId, asked.id));
    const { role = before.role, disabled = before.disabled, displayName = before.displayName } = asked;
    const after = { ...before, role, disabled, displayName };
    const isNameSame = displayName === before.displayName;
    if (role === before.role && disabled === before.disabled && isNameSame) {
      return { result: { user: before, narrowedKeys: [] }, unchanged: true };
    }
    await requireAuthorityOver(em, actor, before);
    const former = await em.findOneOrFail(Role, { organizationId, name: before.role }, { refresh: true });
    const isSameRole = role === former.name;
    const given = isSameRole
      ? former
      : await grantableRole(em, actor, organizationId, role, LockMode.PESSIMISTIC_READ);
    // Nobody lets in whoever holds more than they do.
    if (isSameRole && before.disabled && !disabled) {
      requireGrantable(actor, former);
    }
    // Whoever has yet to accept is no owner who can act.
    if (before.role === OWNER && !before.pending && (!isSameRole || disabled)) {
      await requireAnotherOwner(em, before);
    }
    await em.nativeUpdate(
      Membership,
      { organizationId, userId: before.id },
      {
        roleId: given.id,
        displayName,
        ...(disabled !== before.disabled && { disableTime: disabled ? raw("now()") : null }),
      },
    );
    // Whoever is let in again begins anew.
    const ended = disabled ? await endSessions(em, organizationId, before.id) : [];
    const narrowed = await narrowedKeys(em, actor.decision.catalogue, {
      organizationId,
      of: { userId: before.id },
      before: former.permissions,
      after: given.permissions,
    });
    const event = {
      organizationId,
      action: actionOf(before, after),
      targetId: before.id,
      detail: {
        before: { role: before.role, disabled: before.disabled },
        after: { role, disabled },
      },
      ...(!isNameSame && {
        personal: {
          userId: before.id,
          data: { before: { displayName: before.displayName }, after: { displayName } },
        },
      }),
    };
    return { result: { user: after, narrowedKeys: narrowed }, event, tags: [`user:${before.id}`, ...ended] };
  });
}

function actionOf(before: UserView, after: UserView): string {
  const isSameOtherwise = before.role === after.role && before.displayName === after.displayName;
  if (!isSameOtherwise || before.disabled === after.disabled) {
    return "user.update";
  }
  return after.disabled ? "user.disable" : "user.enable";
}
