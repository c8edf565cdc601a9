import type { Storage } from "../storage/open-storage.ts";
import type { Tally } from "./usage-tally.ts";

/** More than a reader can ask for. */
const KEPT_DAYS = 400;
/** In one statement, so that it never takes long. */
const MOST_FORGOTTEN = 10_000;

// In the order of the primary key: replicas that write the same rows at once wait for each other, and never
// in a circle.
const WRITE = `
  insert into key_usage as u (
    key_id, date, lookup_id, display_prefix, allowed, refused, last_use_time, last_use_address)
  select key_id, date, lookup_id, display_prefix, allowed, refused, last_use_time, last_use_address
  from jsonb_to_recordset($1::jsonb) as r (
    key_id uuid, date date, lookup_id text, display_prefix text, allowed bigint, refused bigint,
    last_use_time timestamptz, last_use_address text)
  order by key_id, date, lookup_id
  on conflict (key_id, date, lookup_id) do update set
    allowed = u.allowed + excluded.allowed,
    refused = u.refused + excluded.refused,
    last_use_time = greatest(u.last_use_time, excluded.last_use_time),
    last_use_address = case
      when excluded.last_use_time >= u.last_use_time then excluded.last_use_address
      else u.last_use_address
    end`;

// The last row of a secret tells when it was last used, however long ago that is.
const FORGET = `
  with forgotten as (
    delete from key_usage where (key_id, date, lookup_id) in (
      select old.key_id, old.date, old.lookup_id from key_usage old
      where old.date < (now() at time zone 'utc')::date - ${KEPT_DAYS} and exists (
        select from key_usage later where later.lookup_id = old.lookup_id and later.date > old.date)
      limit ${MOST_FORGOTTEN} for update skip locked)
    returning 1)
  select count(*)::int as rows from forgotten`;

/** Adds to what is on record, in one statement. */
export async function writeUsage(storage: Storage, tallies: readonly Tally[]): Promise<void> {
  const rows = tallies.map((tally) => ({
    key_id: tally.keyId,
    date: tally.date,
    lookup_id: tally.lookupId,
    display_prefix: tally.displayPrefix,
    allowed: tally.allowed,
    refused: tally.refused,
    last_use_time: new Date(tally.lastUseMillis).toISOString(),
    last_use_address: tally.lastUseAddress,
  }));
  await storage.inBackground("write usage", WRITE, [JSON.stringify(rows)]);
}

/**
 * Deletes what nobody can ask for any more.
 *
 * @returns whether there may be more of it.
 */
export async function forgetOldUsage(storage: Storage): Promise<boolean> {
  const row = await storage.inBackground<{ rows: number }>("forget usage", FORGET, []);
  return row?.rows === MOST_FORGOTTEN;
}
