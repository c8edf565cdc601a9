import { v7 as uuidv7 } from "uuid";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import type { Storage } from "../storage/open-storage.ts";
import { checkGrant } from "./grant.ts";
import { Role } from "./role-entity.ts";
import { asNameTaken } from "./role-name-taken.ts";

export interface NewRole {
  readonly name: string;
  /** Names and patterns. */
  readonly permissions: readonly string[];
}

/**
 * Creates a role of an organization, of what the actor holds.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, PERMISSION_UNKNOWN, PERMISSION_NOT_HELD, ROLE_NAME_TAKEN, and what
 * holdActor() throws.
 */
export async function createRole(
  storage: Storage,
  actor: Actor,
  { name, permissions: asked }: NewRole,
): Promise<Role> {
  const organizationId = oneOrganization(actor);
  const permissions = checkGrant(actor.decision, asked, "role");
  return await asNameTaken(
    mutate(storage, authorOf(actor), async (em) => {
      await holdActor(em, actor);
      const role = em.create(Role, { id: uuidv7(), organizationId, name, permissions, builtIn: false });
      await em.flush();
      const event = {
        organizationId,
        action: "role.create",
        targetId: role.id,
        detail: { after: { name, permissions } },
      };
      return { result: role, event, tags: [`role:${role.id}`] };
    }),
  );
}
