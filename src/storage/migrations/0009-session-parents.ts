import { Migration } from "@mikro-orm/migrations";

/** Tokens that are got with keys: what each stands on, and what it was narrowed to. */
export class SessionParents extends Migration {
  override up(): void {
    this.addSql(`
      alter table sessions
        alter column organization_id drop not null,
        alter column user_id drop not null,
        add column kind text not null default 'login',
        add column api_key_id uuid,
        add column service_key_id uuid references service_keys (id),
        -- The public part of the key's secret that was presented: the token ends with that one.
        add column secret_id text,
        -- Names and patterns. Null: all that the key may do.
        add column permissions text[],
        -- Null: the default one.
        add column audience text,
        add foreign key (organization_id) references organizations (id),
        add foreign key (organization_id, api_key_id) references api_keys (organization_id, id),
        add constraint sessions_parent check (case kind
          when 'login' then num_nulls(organization_id, user_id) = 0
            and num_nonnulls(api_key_id, service_key_id, secret_id, permissions, audience) = 0
          when 'api_key' then num_nulls(organization_id, api_key_id, secret_id) = 0
            and num_nonnulls(user_id, service_key_id) = 0
          when 'delegation' then num_nulls(organization_id, user_id, service_key_id, secret_id) = 0
            and api_key_id is null
          when 'service' then num_nulls(service_key_id, secret_id) = 0 and num_nonnulls(user_id, api_key_id) = 0
          else false
        end)`);
    // A token of a key is never refreshed.
    this.addSql(`
      alter table sessions add constraint sessions_refreshable
        check (kind = 'login' or (idle_expire_time is null and refresh_count = 0 and not browser))`);

    this.addSql(`
      insert into permissions (scope, name, description) values
        ('platform', 'platform.tokens.delegate', 'Get tokens that act on behalf of any user, with an internal key')`);
  }
}
