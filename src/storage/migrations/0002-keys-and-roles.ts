import { Migration } from "@mikro-orm/migrations";

/** The whole life of keys, roles that change, people who leave, and retries that are safe. */
export class KeysAndRoles extends Migration {
  override up(): void {
    this.addSql(`
      alter table api_keys
        add column metadata jsonb not null default '{}',
        add column rate_limit_requests int,
        add column rate_limit_window_seconds int,
        add column imported boolean not null default false,
        add constraint api_keys_rate_limit_whole
          check ((rate_limit_requests is null) = (rate_limit_window_seconds is null))`);
    this.addSql(
      "create index api_keys_organization_id_owner_user_id_idx on api_keys (organization_id, owner_user_id)",
    );

    // Who was handed a secret, and through whose hands keys and secrets came: they end with any of these.
    for (const table of ["api_key_slots", "service_key_slots"]) {
      this.addSql(`alter table ${table} add column creator_id uuid`);
      this.addSql(`create index ${table}_creator_id_idx on ${table} (creator_id)`);
    }
    for (const table of ["api_keys", "service_keys", "api_key_slots", "service_key_slots"]) {
      this.addSql(`alter table ${table} add column maker_ids uuid[] not null default '{}'`);
      this.addSql(`alter table ${table} alter column maker_ids drop default`);
      this.addSql(`create index ${table}_maker_ids_idx on ${table} using gin (maker_ids)`);
    }
    this.addSql("create index api_keys_creator_id_idx on api_keys (creator_id)");

    // Whoever has left stays on record, since what they made may refer to them.
    this.addSql("alter table memberships add column remove_time timestamptz");

    // The answers of creates that can be repeated, sealed, by who called what.
    this.addSql(`
      create table idempotency_keys (
        caller_id uuid not null,
        method text not null,
        idempotency_key text not null,
        request_digest bytea not null,
        sealed_answer bytea not null,
        create_time timestamptz not null default now(),
        primary key (caller_id, method, idempotency_key)
      )`);
    this.addSql("create index idempotency_keys_create_time_idx on idempotency_keys (create_time)");

    this.addSql(`
      insert into permissions (scope, name, description) values
        ('organization', 'auth.explain', 'See each step of a decision about a credential of the organization'),
        ('organization', 'auth.roles.read', 'Read the organization''s roles'),
        ('organization', 'auth.roles.write', 'Create, change and delete the organization''s roles'),
        ('platform', 'platform.api_keys.import', 'Take over API keys of other systems'),
        ('platform', 'platform.permissions.write', 'Add permissions to the catalogue')`);
  }
}
