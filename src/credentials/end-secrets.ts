import type { EntityManager } from "@mikro-orm/postgresql";

/**
 * Ends the secrets of other keys that were handed to keys which are revoked: a rotation by one of them is known to
 * whoever had it. Each of the other keys is left with what other secrets it has.
 *
 * @param revoked the ids of the keys, revoked in the same unit of work, so that they rotate nothing more.
 * @returns the ids of the other keys.
 */
export async function endSecretsOf(em: EntityManager, revoked: readonly string[]): Promise<string[]> {
  const ended: { id: string }[] = await em.execute(
    `with revoked as (
      select jsonb_array_elements_text(?)::uuid as id
    ), api_keys as (
      update api_key_slots set expire_time = clock_timestamp()
      where creator_id in (select id from revoked) and api_key_id not in (select id from revoked)
        and (expire_time is null or expire_time > clock_timestamp())
      returning api_key_id as id
    ), service_keys as (
      update service_key_slots set expire_time = clock_timestamp()
      where creator_id in (select id from revoked) and service_key_id not in (select id from revoked)
        and (expire_time is null or expire_time > clock_timestamp())
      returning service_key_id as id
    )
    select id from api_keys union select id from service_keys`,
    [JSON.stringify(revoked)],
  );
  return ended.map(({ id }) => id);
}
