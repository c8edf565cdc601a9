import type { QueryResultRow } from "pg";
import type { Storage } from "../storage/open-storage.ts";

/** How often one key was used in one window. */
export interface WindowUses {
  readonly keyId: string;
  /** Since the epoch, as is the end. */
  readonly startSeconds: number;
  readonly endSeconds: number;
  readonly uses: number;
}

export interface ReportAnswer {
  /** How many other replicas there are. */
  readonly others: number;
  /** What there is now of the windows that were reported on, by all replicas, in no order. */
  readonly totals: readonly WindowUses[];
}

/** A replica that was not heard of for so long does not count any more, in seconds. */
const GONE_SECONDS = 10;

const WINDOW = `jsonb_build_object('keyId', key_id, 'startSeconds', extract(epoch from window_start)::bigint,
  'endSeconds', extract(epoch from window_end)::bigint, 'uses', used)`;

// In the order of the primary key: replicas that report on the same windows at once wait for each other, and
// never in a circle.
const REPORT = `
  with beat as (
    insert into rate_limit_replicas as m (id) values ($1)
    on conflict (id) do update set seen_time = now() where m.seen_time < now() - interval '500 ms'
  ), totals as (
    insert into key_rate_windows as w (key_id, window_start, window_end, used)
    select "keyId", to_timestamp("startSeconds"), to_timestamp("endSeconds"), uses
    from jsonb_to_recordset($2::jsonb) as r (
      "keyId" uuid, "startSeconds" bigint, "endSeconds" bigint, uses bigint)
    order by 1, 2, 3
    on conflict (key_id, window_start, window_end) do update set used = w.used + excluded.used
    returning key_id, window_start, window_end, used
  )
  select
    (select count(*)::int from rate_limit_replicas
      where id <> $1 and seen_time > now() - interval '${GONE_SECONDS} s') as others,
    (select coalesce(jsonb_agg(${WINDOW}), '[]') from totals) as totals`;

const READ = `
  select jsonb_agg(${WINDOW}) as totals from (
    select * from key_rate_windows where window_end > now() - interval '10 s' limit $1) as open`;

// Well after their time, since the clocks of replicas differ.
const FORGET = `
  with windows as (
    delete from key_rate_windows where (key_id, window_start, window_end) in (
      select key_id, window_start, window_end from key_rate_windows
      where window_end < now() - interval '1 minute'
      limit 10000 for update skip locked)
  )
  delete from rate_limit_replicas where seen_time < now() - interval '1 hour'`;

/** Adds uses to what is on record, and says that this replica is there: one statement, however many windows. */
export async function reportUses(
  storage: Storage,
  replicaId: string,
  uses: readonly WindowUses[],
): Promise<ReportAnswer> {
  const answer = await storage.inBackground<ReportAnswer & QueryResultRow>("report uses", REPORT, [
    replicaId,
    JSON.stringify(uses),
  ]);
  if (answer === undefined) {
    throw new Error("a report always has an answer");
  }
  return answer;
}

/** What there is of the windows that have not ended, at most so many of them. */
export async function readWindows(storage: Storage, most: number): Promise<readonly WindowUses[]> {
  const row = await storage.inBackground<{ totals: WindowUses[] | null }>("read windows", READ, [most]);
  return row?.totals ?? [];
}

/** Says that a replica is there no more. */
export async function leaveReplicas(storage: Storage, replicaId: string): Promise<void> {
  await storage.inBackground("leave replicas", "delete from rate_limit_replicas where id = $1", [replicaId]);
}

/** Deletes windows, and replicas, of the past. */
export async function forgetPastWindows(storage: Storage): Promise<void> {
  await storage.inBackground("forget windows", FORGET, []);
}
