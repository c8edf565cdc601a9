import { Migration } from "@mikro-orm/migrations";

/** How often keys are used, when last, and how often they may be: written in batches, beside the calls. */
export class KeyUsage extends Migration {
  override up(): void {
    // A row for each secret and day. A secret is rotated away, but what it was used for stays on record.
    this.addSql(`
      create table key_usage (
        key_id uuid not null,
        date date not null,
        lookup_id text not null,
        display_prefix text not null,
        allowed bigint not null,
        refused bigint not null,
        last_use_time timestamptz not null,
        last_use_address text not null,
        primary key (key_id, date, lookup_id)
      )`);
    this.addSql("create index key_usage_lookup_id_date_idx on key_usage (lookup_id, date)");
    this.addSql("create index key_usage_date_idx on key_usage (date)");

    this.addSql(`
      create table key_rate_windows (
        key_id uuid not null,
        window_start timestamptz not null,
        window_end timestamptz not null,
        used bigint not null,
        primary key (key_id, window_start, window_end)
      )`);
    this.addSql("create index key_rate_windows_window_end_idx on key_rate_windows (window_end)");

    // The processes that count towards rate limits, by an id that each gives itself when it starts.
    this.addSql(`
      create table rate_limit_replicas (
        id uuid primary key,
        seen_time timestamptz not null default now()
      )`);
  }
}
