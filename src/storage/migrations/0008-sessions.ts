import { Migration } from "@mikro-orm/migrations";

/** Sessions that outlast their access tokens: refresh tokens, and who may see and end sessions. */
export class Sessions extends Migration {
  override up(): void {
    this.addSql(`
      alter table sessions
        -- When it ends unless it is refreshed. Null: it cannot be.
        add column idle_expire_time timestamptz,
        add column refresh_time timestamptz,
        add column refresh_count integer not null default 0,
        -- Its refresh tokens travel in a cookie, and nowhere else.
        add column browser boolean not null default false,
        -- Of the call that it began with.
        add column client_address text not null default '',
        add constraint sessions_organization_id_id_key unique (organization_id, id)`);
    this.addSql("create index sessions_organization_id_user_id_idx on sessions (organization_id, user_id)");
    this.addSql("create index sessions_user_id_idx on sessions (user_id)");
    this.addSql("create index sessions_expire_time_idx on sessions (expire_time)");

    // Those that were used stay for as long as their session: that one of them comes again tells of a thief.
    this.addSql(`
      create table refresh_tokens (
        lookup_id text primary key,
        organization_id uuid not null,
        session_id uuid not null,
        digest bytea not null,
        pepper_id uuid not null references peppers (id),
        create_time timestamptz not null default now(),
        use_time timestamptz,
        -- The next one, under a key that only whoever has this one's text can derive. It is erased when that one
        -- is used, or when it is too late to be told it again.
        sealed_successor bytea,
        check (sealed_successor is null or use_time is not null),
        foreign key (organization_id, session_id) references sessions (organization_id, id) on delete cascade
      )`);
    this.addSql("create index refresh_tokens_session_id_idx on refresh_tokens (session_id)");
    // However many refreshes come at once, one token goes on.
    this.addSql(`
      create unique index refresh_tokens_unused_key on refresh_tokens (session_id) where use_time is null`);
    this.addSql(`
      create index refresh_tokens_use_time_idx on refresh_tokens (use_time) where sealed_successor is not null`);

    this.addSql(`
      insert into permissions (scope, name, description) values
        ('organization', 'auth.sessions.read', 'Read the sessions of the organization''s users'),
        ('organization', 'auth.sessions.write', 'End the sessions of the organization''s users'),
        ('platform', 'platform.sessions.read', 'Read the sessions of every organization'),
        ('platform', 'platform.sessions.write', 'End the sessions of every organization')`);
  }
}
