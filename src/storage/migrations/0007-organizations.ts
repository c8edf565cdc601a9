import { Migration } from "@mikro-orm/migrations";

/** Organizations that are deleted, and people who are taken over from other systems. */
export class Organizations extends Migration {
  override up(): void {
    // The row stays, since the record of what happened refers to it; its name is free. What has no end of its own
    // is refused as of a suspended organization, also by the version before.
    this.addSql(`
      alter table organizations
        add column delete_time timestamptz,
        alter column name_key drop not null,
        add constraint organizations_deleted_is_suspended
          check (delete_time is null or suspend_time is not null),
        add constraint organizations_deleted_has_no_name_key
          check ((delete_time is null) = (name_key is not null))`);
    // Of all that a person was imported with, under the pepper: a second import of the same is recognized.
    this.addSql("alter table users add column import_digest bytea");

    this.addSql(`
      insert into permissions (scope, name, description) values
        ('platform', 'platform.users.import', 'Take over the users of other systems')`);
  }
}
