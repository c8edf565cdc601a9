import { type Actor, authorOf, within } from "../authenticate/actor.ts";
import type { Decision } from "../authenticate/decision.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { type NarrowedKey, narrowedKeys } from "../credentials/api-key/narrowed-keys.ts";
import { differences } from "../credentials/differences.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { lockMembers } from "../users/lock-members.ts";
import { checkGrant } from "./grant.ts";
import { expandPatterns } from "./permission-pattern.ts";
import { lockCustomRole } from "./read-roles.ts";
import { Role } from "./role-entity.ts";
import { asNameTaken } from "./role-name-taken.ts";

/** What to change of a role. A field that is undefined stays as it is. */
export interface RoleUpdate {
  readonly id: string;
  readonly name: string | undefined;
  /** Names and patterns. */
  readonly permissions: readonly string[] | undefined;
}

export interface UpdatedRole {
  readonly role: Role;
  /** The API keys of those who have the role, as far as it takes something from them. */
  readonly narrowedKeys: NarrowedKey[];
}

/**
 * Changes a role of one's own making. What is added has to be held by the actor; to take away needs nothing.
 *
 * @throws AuthError NOT_FOUND, ROLE_BUILT_IN, ROLE_NAME_TAKEN, PERMISSION_UNKNOWN, PERMISSION_NOT_HELD, and
 * what holdActor() throws.
 */
export async function updateRole(storage: Storage, actor: Actor, asked: RoleUpdate): Promise<UpdatedRole> {
  const change = mutate(storage, authorOf(actor), async (em) => {
    const found = await em.findOne(Role, { id: asked.id, ...within(actor) });
    if (found === null) {
      throw new AuthError("NOT_FOUND");
    }
    const { organizationId } = found;
    await lockMembers(em, organizationId);
    await holdActor(em, actor);
    const role = await lockCustomRole(em, actor, asked.id);
    const before = { name: role.name, permissions: role.permissions };
    const after = {
      name: asked.name ?? before.name,
      permissions: changedPermissions(actor.decision, before.permissions, asked.permissions),
    };
    const detail = differences(before, after);
    if (detail === undefined) {
      return { result: { role, narrowedKeys: [] }, unchanged: true };
    }
    role.name = after.name;
    role.permissions = after.permissions;
    await em.flush();
    const narrowed = await narrowedKeys(em, actor.decision.catalogue, {
      organizationId,
      of: { roleId: role.id },
      before: before.permissions,
      after: after.permissions,
    });
    const event = { organizationId, action: "role.update", targetId: role.id, detail };
    return { result: { role, narrowedKeys: narrowed }, event, tags: [`role:${role.id}`] };
  });
  return await asNameTaken(change);
}

/** A pattern is added unless it was there, since it may come to reach more; a name, unless it was reached. */
function changedPermissions(
  actor: Decision,
  before: readonly string[],
  asked: readonly string[] | undefined,
): string[] {
  if (asked === undefined) {
    return [...before];
  }
  const reached = expandPatterns(before, "role", actor.catalogue);
  const added = asked.filter((text) => !before.includes(text) && !reached.has(text));
  checkGrant(actor, added, "role");
  return [...new Set(asked)].sort();
}
