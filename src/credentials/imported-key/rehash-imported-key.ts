import type { EntityManager } from "@mikro-orm/postgresql";
import { mutate } from "../../changes/mutate.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Rehash } from "./rehash-queue.ts";

/**
 * Puts the secret of an imported key into a slot, as if it had been made here, and deletes its foreign hash.
 * Where that was done already, or both slots are taken, things stay as they are.
 */
export async function rehashImportedKey(storage: Storage, rehash: Rehash): Promise<void> {
  const { apiKeyId } = rehash;
  await mutate(storage, { type: "api_key", id: apiKeyId }, async (em) => {
    // As whoever rotates the key: one of both waits, and finds what the other has done.
    const [key] = await em.execute<{ organizationId: string }[]>(
      `select organization_id as "organizationId" from api_keys where id = ? for no key update`,
      [apiKeyId],
    );
    if (key === undefined || !(await takeSlot(em, rehash))) {
      return { result: undefined, unchanged: true };
    }
    await em.execute(
      `update imported_key_hashes set rehash_time = now(), salted_hash = null, lookup_prefix = null
      where api_key_id = ?`,
      [apiKeyId],
    );
    const event = {
      organizationId: key.organizationId,
      action: "api_key.rehash",
      targetId: apiKeyId,
      detail: { before: { displayPrefix: null }, after: { displayPrefix: rehash.displayPrefix } },
    };
    return { result: undefined, event, tags: [`key:${apiKeyId}`] };
  });
}

/**
 * The slot is as old as the key, so that it is the older one where a rotation has made another. It ends when the
 * hash would have.
 */
async function takeSlot(
  em: EntityManager,
  { apiKeyId, lookupId, displayPrefix, digest, pepperId }: Rehash,
): Promise<boolean> {
  const taken: unknown[] = await em.execute(
    `insert into api_key_slots (lookup_id, organization_id, api_key_id, slot, display_prefix, digest, pepper_id,
      create_time, expire_time, maker_ids)
    select ?, h.organization_id, h.api_key_id, free.slot, ?, ?, ?, k.create_time, h.expire_time, '{}'
    from imported_key_hashes h
    join api_keys k on k.id = h.api_key_id
    join lateral (
      select slot from (values (1::smallint), (2::smallint)) as either (slot)
      where not exists (select from api_key_slots s where s.api_key_id = h.api_key_id and s.slot = either.slot)
      order by slot limit 1
    ) free on true
    where h.api_key_id = ? and h.rehash_time is null
    on conflict (lookup_id) do nothing
    returning 1`,
    [lookupId, displayPrefix, digest, pepperId, apiKeyId],
  );
  return taken.length > 0;
}
