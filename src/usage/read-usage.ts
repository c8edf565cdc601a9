import type { EntityManager } from "@mikro-orm/postgresql";

/** How often one secret of a key was used on one day. */
export interface SlotUsageRow {
  /** The start of the secret. */
  readonly displayPrefix: string;
  readonly allowed: bigint;
  readonly refused: bigint;
}

/** How often a key was used on one day, by all of its secrets. */
export interface DailyUsageRow {
  /** In UTC: `2026-01-31`. */
  readonly date: string;
  readonly allowed: bigint;
  readonly refused: bigint;
  readonly slots: readonly SlotUsageRow[];
}

export interface LastUse {
  readonly time: Date;
  /** The client's. Empty: it was not told at that use. */
  readonly address: string;
}

/**
 * The days on which a key was used, the newest first. Uses of the last seconds may be missing.
 *
 * @param keyId of an API key or an internal key, that the caller may see.
 * @param days how many to look back, today included. Today is the database's, in UTC.
 */
export async function readDailyUsage(
  em: EntityManager,
  keyId: string,
  days: number,
): Promise<DailyUsageRow[]> {
  const rows = await em.execute<{ date: string; display_prefix: string; allowed: string; refused: string }[]>(
    `select to_char(date, 'YYYY-MM-DD') as date, display_prefix, allowed::text, refused::text
     from key_usage
     where key_id = ? and date > (now() at time zone 'utc')::date - ?::int
     order by key_usage.date desc, lookup_id`,
    [keyId, days],
  );
  return [...Map.groupBy(rows, (row) => row.date)].map(([date, ofDay]) => {
    const slots = ofDay.map((row) => ({
      displayPrefix: row.display_prefix,
      allowed: BigInt(row.allowed),
      refused: BigInt(row.refused),
    }));
    return {
      date,
      allowed: slots.reduce((sum, slot) => sum + slot.allowed, 0n),
      refused: slots.reduce((sum, slot) => sum + slot.refused, 0n),
      slots,
    };
  });
}

/** When secrets were last presented, by their lookup ids. One that never was is not in the answer. */
export async function readLastUses(
  em: EntityManager,
  lookupIds: readonly string[],
): Promise<ReadonlyMap<string, LastUse>> {
  if (lookupIds.length === 0) {
    return new Map();
  }
  const rows = await em.execute<{ lookup_id: string; time: Date; address: string }[]>(
    `select asked.lookup_id, newest.last_use_time as time, newest.last_use_address as address
     from jsonb_array_elements_text(?::jsonb) as asked (lookup_id)
     cross join lateral (
       select last_use_time, last_use_address from key_usage u
       where u.lookup_id = asked.lookup_id
       order by u.date desc limit 1
     ) as newest`,
    [JSON.stringify(lookupIds)],
  );
  return new Map(rows.map(({ lookup_id, time, address }) => [lookup_id, { time: new Date(time), address }]));
}
