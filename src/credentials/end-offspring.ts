import type { EntityManager } from "@mikro-orm/postgresql";

/** What ended with keys that were revoked, besides them, by ids. */
export interface Offspring {
  readonly apiKeys: readonly string[];
  readonly serviceKeys: readonly string[];
  /** Keys that go on without a secret that a rotation had handed to one of the others. */
  readonly rotated: readonly string[];
}

/**
 * Ends what was made with keys, and with what was made with them: keys are revoked, and secrets that a rotation
 * handed out end. Whoever had one of the secrets may have made it. The keys themselves are revoked already, in the
 * same unit of work, so that they make no more.
 */
export async function endOffspring(
  em: EntityManager,
  roots: { readonly apiKeys?: readonly string[]; readonly serviceKeys?: readonly string[] },
  reason: string,
): Promise<Offspring> {
  const apiKeys = new Set(roots.apiKeys);
  const serviceKeys = new Set(roots.serviceKeys);
  const rotated = new Set<string>();
  const size = () => apiKeys.size + serviceKeys.size + rotated.size;
  // What one of them was just making is waited for, and seen by the next round.
  for (let before = -1; before !== size(); ) {
    before = size();
    await revoke(em, "service_keys", serviceKeys, [...apiKeys, ...serviceKeys], [], reason);
    // These are dead without being revoked: they stand on a key that is.
    const standing = await ownedBy(em, serviceKeys);
    const makers = [...apiKeys, ...standing, ...serviceKeys];
    await revoke(em, "api_keys", apiKeys, makers, standing, reason);
    const dead = new Set([...apiKeys, ...standing]);
    for (const id of await endSecrets(em, "api_key", makers, dead)) {
      rotated.add(id);
    }
    for (const id of await endSecrets(em, "service_key", makers, serviceKeys)) {
      rotated.add(id);
    }
  }
  return {
    apiKeys: [...apiKeys.difference(new Set(roots.apiKeys))],
    serviceKeys: [...serviceKeys.difference(new Set(roots.serviceKeys))],
    rotated: [...rotated.difference(apiKeys.union(serviceKeys))],
  };
}

/** The oldest first, which is the order in which whoever locks several keys does so. */
async function revoke(
  em: EntityManager,
  table: "api_keys" | "service_keys",
  revoked: Set<string>,
  makers: readonly string[],
  spared: readonly string[],
  reason: string,
): Promise<void> {
  const rows: { id: string }[] = await em.execute(
    `with made as (
      select id from ${table} where creator_id in (select jsonb_array_elements_text(?)::uuid)
      union
      select id from ${table} where maker_ids && array(select jsonb_array_elements_text(?)::uuid)
    ), locked as (
      select id from ${table}
      where id in (select id from made) and id not in (select jsonb_array_elements_text(?)::uuid)
        and revoke_time is null
      order by id for update
    )
    update ${table} set revoke_time = now(), revoke_reason = ? where id in (select id from locked)
    returning id`,
    [[...revoked], makers, spared].map((ids) => JSON.stringify(ids)).concat(reason),
  );
  for (const { id } of rows) {
    revoked.add(id);
  }
}

async function ownedBy(em: EntityManager, serviceKeys: ReadonlySet<string>): Promise<string[]> {
  if (serviceKeys.size === 0) {
    return [];
  }
  const rows: { id: string }[] = await em.execute(
    "select id from api_keys where owner_service_key_id in (select jsonb_array_elements_text(?)::uuid)",
    [JSON.stringify([...serviceKeys])],
  );
  return rows.map(({ id }) => id);
}

async function endSecrets(
  em: EntityManager,
  kind: "api_key" | "service_key",
  makers: readonly string[],
  revoked: ReadonlySet<string>,
): Promise<string[]> {
  const table = `${kind}_slots`;
  const rows: { id: string }[] = await em.execute(
    `with locked as (
      select lookup_id from ${table}
      where maker_ids && array(select jsonb_array_elements_text(?)::uuid)
        and ${kind}_id not in (select jsonb_array_elements_text(?)::uuid)
        and (expire_time is null or expire_time > clock_timestamp())
      order by lookup_id for update
    )
    update ${table} set expire_time = clock_timestamp() where lookup_id in (select lookup_id from locked)
    returning ${kind}_id as id`,
    [JSON.stringify(makers), JSON.stringify([...revoked])],
  );
  return rows.map(({ id }) => id);
}
