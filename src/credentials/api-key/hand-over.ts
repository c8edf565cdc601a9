import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Decision } from "../../authenticate/decision.ts";
import { endOffspring } from "../end-offspring.ts";
import { checkKeyGrant } from "../key-grant.ts";
import { rateLimitOf } from "../rate-limit.ts";
import { ApiKey } from "./api-key-entity.ts";

const REASON = "its owner has left";

/** Somebody whose API keys are to be theirs no longer. They are held, so that nobody makes more in their name. */
export interface FormerOwner {
  readonly organizationId: string;
  readonly userId: string;
}

/**
 * Gives the API keys of somebody who leaves to another member, who is held. The live rights of that one bound
 * the keys from now on, and may be wider: so all that they were granted has to be the actor's to give.
 *
 * @returns the ids of the keys.
 * @throws AuthError PERMISSION_NOT_HELD
 */
export async function handOverKeys(
  em: EntityManager,
  actor: Decision,
  { organizationId, userId }: FormerOwner,
  newOwnerId: string,
): Promise<string[]> {
  const theirs = { organizationId, ownerUserId: userId, revokeTime: null };
  const lockMode = LockMode.PESSIMISTIC_WRITE;
  const keys = await em.find(ApiKey, theirs, { orderBy: { id: "asc" }, lockMode, refresh: true });
  for (const key of keys) {
    checkKeyGrant(
      actor,
      { grantee: "api-key", owner: { userId: newOwnerId } },
      {
        permissions: key.permissions,
        expireTime: key.expireTime ?? undefined,
        allowedCidrs: key.allowedCidrs,
        rateLimit: rateLimitOf(key.rateLimitRequests ?? null, key.rateLimitWindowSeconds ?? null),
      },
    );
  }
  await em.nativeUpdate(ApiKey, theirs, { ownerUserId: newOwnerId });
  return keys.map(({ id }) => id);
}

/**
 * Revokes the API keys of somebody who leaves for good, and ends what was made with them.
 *
 * @returns the ids of the revoked keys, of both kinds, and of those that go on without a secret.
 */
export async function revokeKeysOf(
  em: EntityManager,
  { organizationId, userId }: FormerOwner,
): Promise<{ revoked: string[]; serviceKeys: readonly string[]; rotated: readonly string[] }> {
  const rows: { id: string }[] = await em.execute(
    `with locked as (
      select id from api_keys where organization_id = ? and owner_user_id = ? and revoke_time is null
      order by id for update
    )
    update api_keys set revoke_time = now(), revoke_reason = ? where id in (select id from locked)
    returning id`,
    [organizationId, userId, REASON],
  );
  const ids = rows.map(({ id }) => id);
  const { apiKeys, serviceKeys, rotated } = await endOffspring(em, { apiKeys: ids }, REASON);
  return { revoked: [...ids, ...apiKeys], serviceKeys, rotated };
}

/**
 * The API keys that go on and whose secret somebody who leaves was told by a rotation.
 *
 * @returns their ids.
 */
export async function keysKnownTo(
  em: EntityManager,
  { organizationId, userId }: FormerOwner,
): Promise<string[]> {
  const rows: { id: string }[] = await em.execute(
    `select distinct k.id from api_key_slots s join api_keys k on k.id = s.api_key_id
    where s.creator_id = ? and k.organization_id = ? and k.revoke_time is null
      and (s.expire_time is null or s.expire_time > now())
    order by k.id`,
    [userId, organizationId],
  );
  return rows.map(({ id }) => id);
}
