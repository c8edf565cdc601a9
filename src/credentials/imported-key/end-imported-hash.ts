import type { EntityManager } from "@mikro-orm/postgresql";

/**
 * Gives the foreign hash of an imported key an end, where it has not come to one. Whoever does it has locked the
 * key: from its first use on, the secret is in a slot instead.
 */
export async function endImportedHash(
  em: EntityManager,
  apiKeyId: string,
  overlapMillis: number,
): Promise<void> {
  await em.execute(
    `update imported_key_hashes set expire_time = clock_timestamp() + ? * interval '1 millisecond'
    where api_key_id = ? and rehash_time is null and (expire_time is null or expire_time > clock_timestamp())`,
    [overlapMillis, apiKeyId],
  );
}

/**
 * Takes that end away, while the hash still works.
 *
 * @returns whether it works: false where it has ended, or is in a slot, and where there is none.
 */
export async function restoreImportedHash(em: EntityManager, apiKeyId: string): Promise<boolean> {
  const restored: unknown[] = await em.execute(
    `update imported_key_hashes set expire_time = null
    where api_key_id = ? and rehash_time is null and (expire_time is null or expire_time > clock_timestamp())
    returning 1`,
    [apiKeyId],
  );
  return restored.length > 0;
}
