import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Actor } from "../authenticate/actor.ts";
import type { Tag } from "../changes/mutate.ts";
import { handOverKeys, keysKnownTo, revokeKeysOf } from "../credentials/api-key/hand-over.ts";
import { AuthError } from "../errors.ts";
import { LEAST_ROLE } from "../permissions/built-in-roles.ts";
import { Role } from "../permissions/role-entity.ts";
import { endSessions } from "./end-sessions.ts";
import { holdKeyOwner } from "./hold-key-owner.ts";
import { Membership, NO_INVITATION } from "./membership-entity.ts";
import type { UserView } from "./user-view.ts";

/** What became of the API keys, by their ids. */
export interface EndedKeys {
  readonly handedOver: readonly string[];
  readonly revoked: readonly string[];
  /** Those that go on and have a secret that the user knows. */
  readonly known: readonly string[];
}

export interface EndedMembership extends EndedKeys {
  /** For the record. */
  readonly detail: Readonly<Record<string, unknown>>;
  readonly tags: readonly Tag[];
}

/**
 * Ends a membership, within a unit of work that has locked the organization's members: the person's sessions there
 * end, and their API keys go to somebody else or end too.
 *
 * @param newOwnerId empty: the keys are revoked.
 * @throws AuthError OWNER_UNKNOWN, PERMISSION_NOT_HELD
 */
export async function endMembership(
  em: EntityManager,
  actor: Actor,
  { organizationId, id: userId, role, disabled }: UserView,
  newOwnerId: string,
): Promise<EndedMembership> {
  if (newOwnerId === userId) {
    throw new AuthError("OWNER_UNKNOWN");
  }
  if (newOwnerId !== "") {
    await holdKeyOwner(em, organizationId, newOwnerId);
  }
  // Before their keys are looked for: nobody makes more in their name then. And whoever has left keeps no role
  // from being deleted.
  const { id: roleId } = await em.findOneOrFail(Role, { organizationId, name: LEAST_ROLE });
  const left = { removeTime: raw("now()"), roleId, ...NO_INVITATION };
  await em.nativeUpdate(Membership, { organizationId, userId }, left);
  const ended = await endSessions(em, organizationId, userId);
  const owner = { organizationId, userId };
  const keys =
    newOwnerId === ""
      ? { handedOver: [], ...(await revokeKeysOf(em, owner)) }
      : {
          handedOver: await handOverKeys(em, actor.decision, owner, newOwnerId),
          revoked: [],
          serviceKeys: [],
          rotated: [],
        };
  const { handedOver, revoked, serviceKeys, rotated } = keys;
  const known = [...new Set([...handedOver, ...(await keysKnownTo(em, owner))])];
  const tags = [...handedOver, ...revoked, ...serviceKeys, ...rotated].map((id) => `key:${id}` as const);
  return {
    handedOver,
    revoked,
    known,
    detail: {
      before: { role, disabled },
      after: { removed: true },
      ...(newOwnerId !== "" && { newOwnerId }),
      handedOver,
      revoked,
      ...(serviceKeys.length > 0 && { serviceKeys }),
      rotated,
    },
    tags: [`user:${userId}`, ...tags, ...ended],
  };
}
