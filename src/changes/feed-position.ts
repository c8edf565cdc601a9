import { createHash } from "node:crypto";
import { parseSnapshot, type Snapshot } from "./snapshot.ts";

/** Where one look at the changes has left whoever looked. */
export interface Position {
  readonly snapshot: Snapshot;
  /** A short hash of which database it is, on which server, in which of its histories: 16 hexadecimal digits. */
  readonly epoch: string;
  /** A standby may be behind, and does not know how far. */
  readonly isStandby: boolean;
  /** Changes of transactions up to this one may be deleted. */
  readonly prunedXid: bigint;
}

/** What has changed since a position, and the position that this leads to. */
export interface Changes {
  readonly position: Position;
  readonly tags: readonly string[];
  /** The database's time, in milliseconds. */
  readonly millis: number;
}

/** A change of everything there is: for whoever changes rows by hand. */
export const EVERYTHING = "everything";

/**
 * All that became visible since a snapshot, and the snapshot that says so, in one statement: between two, rows
 * would be lost that commit out of order. Without a snapshot ($1) it tells of no changes. It tells of $2 tags at
 * most; null: of all.
 *
 * The timeline is in the name of the file of the write-ahead log; a new one begins where a standby takes over.
 */
export const CHANGES = `
  select s.snapshot::text, pg_is_in_recovery() as is_standby,
    (select system_identifier::text from pg_control_system()) as system,
    case when pg_is_in_recovery() then '' else left(pg_walfile_name(pg_current_wal_lsn()), 8) end as timeline,
    (select oid::text from pg_database where datname = current_database()) as database,
    coalesce((select pruned_xid from change_horizon), '0')::text as pruned_xid,
    (extract(epoch from clock_timestamp()) * 1000)::float8 as millis,
    array(
      select distinct tag from changes c, unnest(c.tags) tag
      where c.xid >= pg_snapshot_xmin($1::pg_snapshot) and not pg_visible_in_snapshot(c.xid, $1::pg_snapshot)
      limit $2::int
    ) as tags
  from (select pg_current_snapshot() as snapshot) s`;

export interface ChangesRow {
  snapshot: string;
  is_standby: boolean;
  system: string;
  timeline: string;
  database: string;
  pruned_xid: string;
  millis: number;
  tags: string[];
}

/** A snapshot as a parameter of the statement. */
export function snapshotText({ xmin, xmax, xip }: Snapshot): string {
  return `${xmin}:${xmax}:${xip.join(",")}`;
}

/** @throws Error where the row is not what the statement asks for. */
export function readChanges(row: ChangesRow | undefined): Changes {
  if (row === undefined) {
    throw new Error("the statement of changes always has a row");
  }
  const { system, timeline, database } = row;
  const epoch = createHash("sha256").update(`${system} ${timeline} ${database}`).digest("hex").slice(0, 16);
  return {
    position: {
      snapshot: parseSnapshot(row.snapshot),
      epoch,
      isStandby: row.is_standby,
      prunedXid: BigInt(row.pruned_xid),
    },
    tags: row.tags,
    millis: row.millis,
  };
}

/** Whether nothing can have been missed between two positions of one connection. */
export function continues(before: Position, now: Position): boolean {
  return isSameHistory(before, now) && now.prunedXid < before.snapshot.xmin;
}

/** Whether they are of one database, which has not been set back in between. */
export function isSameHistory(before: Position, now: Position): boolean {
  return !now.isStandby && now.epoch === before.epoch && now.snapshot.xmax >= before.snapshot.xmax;
}
