import { Migration } from "@mikro-orm/migrations";

/** The life of a signing key, by its times: what it is at any moment follows from them. */
export class SigningKeys extends Migration {
  override up(): void {
    this.addSql(`
      alter table signing_keys
        -- What lists go by.
        add column list_id uuid not null default gen_random_uuid(),
        add column publish_time timestamptz not null default now(),
        add column activate_time timestamptz not null default now(),
        add column retire_time timestamptz,
        add column remove_time timestamptz,
        add column revoke_reason text,
        -- Erased once it signs no more.
        alter column sealed_private_key drop not null,
        add constraint signing_keys_list_id_unique unique (list_id),
        add constraint signing_keys_algorithm_known check (algorithm in ('ES256', 'EdDSA', 'RS256')),
        add constraint signing_keys_times_in_order check (publish_time <= activate_time
          and (retire_time is null) = (remove_time is null) and retire_time < remove_time)`);
    this.addSql("update signing_keys set publish_time = create_time, activate_time = create_time");

    this.addSql(`
      insert into permissions (scope, name, description) values
        ('platform', 'platform.signing_keys.read', 'Read the keys that sign tokens'),
        ('platform', 'platform.signing_keys.write', 'Rotate and revoke the keys that sign tokens')`);
  }
}
