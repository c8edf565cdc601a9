import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { mutate } from "../../changes/mutate.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { ApiKey } from "./api-key-entity.ts";
import type { ApiKeyView } from "./api-key-view.ts";
import { findApiKey } from "./read-api-keys.ts";

/** Keys that were made with the key, or with one that was: whoever had it may have made them. */
async function revokeOffspring(
  em: EntityManager,
  { id, organizationId }: ApiKey,
  reason: string,
): Promise<string[]> {
  const rows: { id: string }[] = await em.execute(
    `with recursive offspring as (
      select id from api_keys where organization_id = ? and creator_id = ?
      union
      select k.id from api_keys k join offspring o on k.creator_id = o.id where k.organization_id = ?
    )
    update api_keys set revoke_time = now(), revoke_reason = ?
    where id in (select id from offspring) and revoke_time is null
    returning id`,
    [organizationId, id, organizationId, reason],
  );
  return rows.map((row) => row.id);
}

/**
 * Revokes an API key for good, and the keys that were made with it. One that is revoked already stays as it is.
 *
 * @throws AuthError NOT_FOUND, also for a key beyond the actor's reach.
 */
export async function revokeApiKey(
  storage: Storage,
  actor: Actor,
  { id, reason }: { readonly id: string; readonly reason: string },
): Promise<ApiKeyView> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const before = await findApiKey(em, actor, id);
    const changed = await em.nativeUpdate(
      ApiKey,
      { id: before.key.id, revokeTime: null },
      { revokeTime: raw("now()"), revokeReason: reason },
    );
    await em.refresh(before.key);
    if (changed === 0) {
      return { result: before, unchanged: true };
    }
    const { organizationId, id: keyId } = before.key;
    const offspring = await revokeOffspring(em, before.key, reason);
    const event = {
      organizationId,
      action: "api_key.revoke",
      targetId: keyId,
      detail: { reason, offspring },
    };
    return { result: before, event, tags: [keyId, ...offspring].map((each) => `key:${each}` as const) };
  });
}
