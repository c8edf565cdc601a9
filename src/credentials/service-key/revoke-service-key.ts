import { LockMode, raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { endSecretsOf } from "../end-secrets.ts";
import { type ServiceKeyView, viewOf } from "./read-service-keys.ts";
import { ServiceKey } from "./service-key-entity.ts";

/** Internal keys that were made with the key, or with one that was. API keys stand on their maker anyway. */
async function revokeOffspring(em: EntityManager, id: string, reason: string): Promise<string[]> {
  const revoked: string[] = [];
  for (;;) {
    // The oldest first, which is the order in which whoever locks several keys does so.
    const rows: { id: string }[] = await em.execute(
      `with recursive offspring as (
        select id from service_keys where creator_id = ?
        union
        select k.id from service_keys k join offspring o on k.creator_id = o.id
      ), locked as (
        select id from service_keys where id in (select id from offspring) and revoke_time is null
        order by id for update
      )
      update service_keys set revoke_time = now(), revoke_reason = ?
      where id in (select id from locked)
      returning id`,
      [id, reason],
    );
    if (rows.length === 0) {
      return revoked;
    }
    revoked.push(...rows.map((row) => row.id));
    // One of them may have been making another, which the statement waited for and could not see yet.
  }
}

/**
 * Revokes an internal key for good, with the internal keys that were made with it and the secrets that it got by
 * rotating others. One that is revoked already stays as it is.
 *
 * @throws AuthError NOT_FOUND
 */
export async function revokeServiceKey(
  storage: Storage,
  actor: Actor,
  { id, reason }: { readonly id: string; readonly reason: string },
): Promise<ServiceKeyView> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const key = await em.findOne(ServiceKey, { id }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (key === null) {
      throw new AuthError("NOT_FOUND");
    }
    if (key.revokeTime != null) {
      return { result: await viewOf(em, key), unchanged: true };
    }
    await em.nativeUpdate(ServiceKey, { id: key.id }, { revokeTime: raw("now()"), revokeReason: reason });
    await em.refresh(key);
    const offspring = await revokeOffspring(em, key.id, reason);
    const rotated = await endSecretsOf(em, [key.id, ...offspring]);
    const detail = { reason, offspring, ...(rotated.length > 0 && { rotated }) };
    return {
      result: await viewOf(em, key),
      event: { action: "service_key.revoke", targetId: key.id, detail },
      tags: [key.id, ...offspring, ...rotated].map((each) => `key:${each}` as const),
    };
  });
}
