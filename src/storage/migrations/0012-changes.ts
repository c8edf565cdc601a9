import { Migration } from "@mikro-orm/migrations";

/** How far changes are known, and by which change a kept answer was made. */
export class Changes extends Migration {
  override up(): void {
    // Whoever has not heard of every change up to this transaction finds a gap: some of its rows are deleted.
    this.addSql(`
      create table change_horizon (
        singleton boolean primary key default true check (singleton),
        pruned_xid xid8 not null default '0'
      )`);
    this.addSql("insert into change_horizon default values");

    // So that a retry is answered with the same revision. Null: nothing was changed.
    this.addSql("alter table idempotency_keys add column change_xid xid8");
  }
}
