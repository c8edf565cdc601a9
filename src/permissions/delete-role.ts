import { type Actor, authorOf } from "../authenticate/actor.ts";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { violates } from "../storage/storage-error.ts";
import { lockCustomRole } from "./read-roles.ts";

/**
 * Deletes a role that nobody has. Whoever gives it to somebody meanwhile holds it, and those who have left have
 * another: so the foreign key of memberships is what decides.
 *
 * @throws AuthError NOT_FOUND, ROLE_BUILT_IN, ROLE_IN_USE
 */
export async function deleteRole(storage: Storage, actor: Actor, id: string): Promise<void> {
  try {
    await mutate(storage, authorOf(actor), async (em) => {
      const role = await lockCustomRole(em, actor, id);
      const { organizationId, name, permissions } = role;
      await em.remove(role).flush();
      const event = {
        organizationId,
        action: "role.delete",
        targetId: id,
        detail: { before: { name, permissions } },
      };
      return { result: undefined, event, tags: [`role:${id}`] };
    });
  } catch (error) {
    if (violates(error, "memberships_organization_id_role_id_fkey")) {
      throw new AuthError("ROLE_IN_USE", { cause: error });
    }
    throw error;
  }
}
