import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { AuthError } from "../errors.ts";
import { ACTIVE_MEMBER, Membership } from "./membership-entity.ts";

/**
 * Holds the person to whom API keys are to belong as they are until the unit of work is done: whoever disables
 * or removes them meanwhile waits, and then finds the keys.
 *
 * @throws AuthError OWNER_UNKNOWN where there is no active member of this id.
 */
export async function holdKeyOwner(em: EntityManager, organizationId: string, userId: string): Promise<void> {
  const member = { organizationId, userId, ...ACTIVE_MEMBER };
  const lockMode = LockMode.PESSIMISTIC_READ;
  if ((await em.findOne(Membership, member, { lockMode, refresh: true })) === null) {
    throw new AuthError("OWNER_UNKNOWN");
  }
}
