import { Migration } from "@mikro-orm/migrations";

/** How often logins failed: for each account, known or not, and for each source that they came from. */
export class LoginThrottle extends Migration {
  override up(): void {
    // Accounts and sources are HMACs under a key that is not in the database: it tells of no stranger's email.
    this.addSql(`
      create table login_counters (
        account bytea not null,
        -- Somewhere that the account's owner has logged in from. Empty: anywhere else.
        source bytea not null,
        failures integer not null,
        -- When the last of them was.
        failure_time timestamptz not null,
        expire_time timestamptz not null,
        primary key (account, source)
      )`);
    this.addSql("create index login_counters_expire_time_idx on login_counters (expire_time)");

    this.addSql(`
      create table login_sources (
        source bytea primary key,
        failures integer not null,
        -- The end of the window that they are counted in.
        expire_time timestamptz not null
      )`);
    this.addSql("create index login_sources_expire_time_idx on login_sources (expire_time)");
  }
}
