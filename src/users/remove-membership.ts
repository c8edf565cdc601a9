import { raw } from "@mikro-orm/core";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { handOverKeys, keysKnownTo, revokeKeysOf } from "../credentials/api-key/hand-over.ts";
import { AuthError } from "../errors.ts";
import { LEAST_ROLE } from "../permissions/built-in-roles.ts";
import { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { endSessions } from "./end-sessions.ts";
import { holdKeyOwner } from "./hold-key-owner.ts";
import { lockMembers } from "./lock-members.ts";
import { Membership } from "./membership-entity.ts";
import { OWNER, requireAnotherOwner, requireAuthorityOver } from "./ownership.ts";
import { findMember, viewOf } from "./read-users.ts";

/** What became of the API keys, by their ids. */
export interface RemovedMembership {
  readonly handedOver: readonly string[];
  readonly revoked: readonly string[];
  /** Those that go on and have a secret that the user knows. */
  readonly known: readonly string[];
}

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
): Promise<RemovedMembership> {
  const organizationId = oneOrganization(actor);
  return await mutate(storage, authorOf(actor), async (em) => {
    await lockMembers(em, organizationId);
    await holdActor(em, actor);
    const before = await viewOf(em, await findMember(em, organizationId, asked.id));
    const { id: userId, role, disabled } = before;
    await requireAuthorityOver(em, actor, before);
    if (role === OWNER) {
      await requireAnotherOwner(em, before);
    }
    const { newOwnerId } = asked;
    if (newOwnerId === userId) {
      throw new AuthError("OWNER_UNKNOWN");
    }
    if (newOwnerId !== "") {
      await holdKeyOwner(em, organizationId, newOwnerId);
    }
    // Before their keys are looked for: nobody makes more in their name then. And whoever has left keeps no role
    // from being deleted.
    const { id: roleId } = await em.findOneOrFail(Role, { organizationId, name: LEAST_ROLE });
    await em.nativeUpdate(Membership, { organizationId, userId }, { removeTime: raw("now()"), roleId });
    const ended = await endSessions(em, organizationId, userId);
    const owner = { organizationId, userId };
    const keys =
      newOwnerId === ""
        ? { handedOver: [], ...(await revokeKeysOf(em, owner)) }
        : {
            handedOver: await handOverKeys(em, actor.decision, owner, newOwnerId),
            revoked: [],
            rotated: [],
          };
    const { handedOver, revoked, rotated } = keys;
    const known = [...new Set([...handedOver, ...(await keysKnownTo(em, owner))])];
    const event = {
      organizationId,
      action: "user.remove",
      targetId: userId,
      detail: {
        before: { role, disabled },
        after: { removed: true },
        ...(newOwnerId !== "" && { newOwnerId }),
        ...keys,
      },
    };
    const tags = [...handedOver, ...revoked, ...rotated].map((id) => `key:${id}` as const);
    return { result: { handedOver, revoked, known }, event, tags: [`user:${userId}`, ...tags, ...ended] };
  });
}
