import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import type { Storage } from "../storage/open-storage.ts";
import { type EndedMembership, endMembership } from "./end-membership.ts";
import { lockMembers } from "./lock-members.ts";
import { OWNER, requireAnotherOwner, requireAuthorityOver } from "./ownership.ts";
import { findMember, viewOf } from "./read-users.ts";

/**
 * Removes a user from an organization: their sessions there end, and their API keys go to somebody else or end
 * too. The row stays, since what they made refers to it.
 *
 * @param asked.newOwnerId empty: the keys are revoked.
 * @throws AuthError ORGANIZATION_REQUIRED, NOT_FOUND, OWNER_REQUIRED, LAST_OWNER, OWNER_UNKNOWN,
 * PERMISSION_NOT_HELD, and what holdActor() throws.
 */
export async function removeMembership(
  storage: Storage,
  actor: Actor,
  asked: { readonly id: string; readonly newOwnerId: string },
): Promise<EndedMembership> {
  const organizationId = oneOrganization(actor);
  return await mutate(storage, authorOf(actor), async (em) => {
    await lockMembers(em, organizationId);
    await holdActor(em, actor);
    const before = await viewOf(em, await findMember(em, organizationId, asked.id));
    await requireAuthorityOver(em, actor, before);
    // Whoever has yet to accept is no owner who can act.
    if (before.role === OWNER && !before.pending) {
      await requireAnotherOwner(em, before);
    }
    const ended = await endMembership(em, actor, before, asked.newOwnerId);
    const event = { organizationId, action: "user.remove", targetId: before.id, detail: ended.detail };
    return { result: ended, event, tags: ended.tags };
  });
}
