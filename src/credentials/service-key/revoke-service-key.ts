import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { mutate } from "../../changes/mutate.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { findServiceKey, type ServiceKeyView } from "./read-service-keys.ts";
import { ServiceKey } from "./service-key-entity.ts";

/** Internal keys that were made with the key, or with one that was. API keys stand on their maker anyway. */
async function revokeOffspring(em: EntityManager, id: string, reason: string): Promise<string[]> {
  const rows: { id: string }[] = await em.execute(
    `with recursive offspring as (
      select id from service_keys where creator_id = ?
      union
      select k.id from service_keys k join offspring o on k.creator_id = o.id
    )
    update service_keys set revoke_time = now(), revoke_reason = ?
    where id in (select id from offspring) and revoke_time is null
    returning id`,
    [id, reason],
  );
  return rows.map((row) => row.id);
}

/**
 * Revokes an internal key for good, and the internal keys that were made with it. One that is revoked already stays as it is.
 *
 * @throws AuthError NOT_FOUND
 */
export async function revokeServiceKey(
  storage: Storage,
  actor: Actor,
  { id, reason }: { readonly id: string; readonly reason: string },
): Promise<ServiceKeyView> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const view = await findServiceKey(em, id);
    const changed = await em.nativeUpdate(
      ServiceKey,
      { id: view.key.id, revokeTime: null },
      { revokeTime: raw("now()"), revokeReason: reason },
    );
    await em.refresh(view.key);
    if (changed === 0) {
      return { result: view, unchanged: true };
    }
    const { id: keyId } = view.key;
    const offspring = await revokeOffspring(em, keyId, reason);
    const event = { action: "service_key.revoke", targetId: keyId, detail: { reason, offspring } };
    return { result: view, event, tags: [keyId, ...offspring].map((each) => `key:${each}` as const) };
  });
}
