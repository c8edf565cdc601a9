import { Migration } from "@mikro-orm/migrations";

/** The first schema, and the catalogue of permissions that a deployment begins with. */
export class Initial extends Migration {
  override up(): void {
    this.addSql(`
      create table latchkey_deployment (
        only_row boolean primary key default true check (only_row),
        id uuid not null default gen_random_uuid(),
        mode text not null check (mode in ('development', 'production')),
        create_time timestamptz not null default now()
      )`);

    this.addSql(`
      create table organizations (
        id uuid primary key,
        name text not null,
        name_key text not null constraint organizations_name_key_unique unique,
        create_time timestamptz not null default now(),
        suspend_time timestamptz
      )`);

    this.addSql(`
      create table permissions (
        name text primary key,
        scope text not null check (scope in ('organization', 'platform')),
        description text not null
      )`);

    this.addSql(`
      create table roles (
        id uuid primary key,
        organization_id uuid not null references organizations (id),
        name text not null,
        permissions text[] not null,
        built_in boolean not null,
        constraint roles_organization_id_name_key unique (organization_id, name),
        constraint roles_organization_id_id_key unique (organization_id, id)
      )`);

    this.addSql(`
      create table users (
        id uuid primary key,
        email text not null constraint users_email_unique unique,
        password_hash text not null,
        password_expire_time timestamptz,
        platform_role text check (platform_role in ('administrator')),
        create_time timestamptz not null default now()
      )`);

    this.addSql(`
      create table memberships (
        id uuid primary key,
        organization_id uuid not null references organizations (id),
        user_id uuid not null references users (id),
        role_id uuid not null,
        display_name text not null,
        create_time timestamptz not null default now(),
        accept_time timestamptz,
        disable_time timestamptz,
        constraint memberships_organization_id_user_id_key unique (organization_id, user_id),
        foreign key (organization_id, role_id) references roles (organization_id, id)
      )`);
    this.addSql("create index memberships_user_id_idx on memberships (user_id)");

    this.addSql(`
      create table peppers (
        id uuid primary key,
        sealed_secret bytea not null,
        create_time timestamptz not null default now()
      )`);

    this.addSql(`
      create table service_keys (
        id uuid primary key,
        name text not null,
        permissions text[] not null,
        allowed_cidrs text[] not null,
        create_time timestamptz not null default now(),
        expire_time timestamptz,
        revoke_time timestamptz,
        revoke_reason text,
        creator_id uuid
      )`);
    this.addSql("create index service_keys_creator_id_idx on service_keys (creator_id)");
    this.addSql("create unique index service_keys_name_key on service_keys (name) where revoke_time is null");
    this.addSql(`
      create table service_key_slots (
        lookup_id text primary key,
        service_key_id uuid not null references service_keys (id),
        slot smallint not null check (slot in (1, 2)),
        display_prefix text not null,
        digest bytea not null,
        pepper_id uuid not null references peppers (id),
        create_time timestamptz not null default now(),
        expire_time timestamptz,
        constraint service_key_slots_service_key_id_slot_key unique (service_key_id, slot)
      )`);

    // An API key's owner is a member of its organization, or an internal key: the foreign key says so.
    this.addSql(`
      create table api_keys (
        id uuid primary key,
        organization_id uuid not null references organizations (id),
        name text not null,
        permissions text[] not null,
        environment text not null,
        allowed_cidrs text[] not null,
        create_time timestamptz not null default now(),
        expire_time timestamptz,
        revoke_time timestamptz,
        revoke_reason text,
        creator_id uuid not null,
        owner_user_id uuid,
        owner_service_key_id uuid references service_keys (id),
        constraint api_keys_organization_id_id_key unique (organization_id, id),
        constraint api_keys_one_owner check (num_nonnulls(owner_user_id, owner_service_key_id) = 1),
        foreign key (organization_id, owner_user_id) references memberships (organization_id, user_id)
      )`);
    this.addSql(
      "create index api_keys_organization_id_creator_id_idx on api_keys (organization_id, creator_id)",
    );
    this.addSql(`
      create table api_key_slots (
        lookup_id text primary key,
        organization_id uuid not null,
        api_key_id uuid not null,
        slot smallint not null check (slot in (1, 2)),
        display_prefix text not null,
        digest bytea not null,
        pepper_id uuid not null references peppers (id),
        create_time timestamptz not null default now(),
        expire_time timestamptz,
        constraint api_key_slots_api_key_id_slot_key unique (api_key_id, slot),
        foreign key (organization_id, api_key_id) references api_keys (organization_id, id)
      )`);

    this.addSql(`
      create table signing_keys (
        kid text primary key,
        algorithm text not null,
        public_jwk jsonb not null,
        sealed_private_key bytea not null,
        create_time timestamptz not null default now(),
        revoke_time timestamptz
      )`);

    this.addSql(`
      create table sessions (
        id uuid primary key,
        organization_id uuid not null,
        user_id uuid not null,
        create_time timestamptz not null default now(),
        expire_time timestamptz not null,
        revoke_time timestamptz,
        foreign key (organization_id, user_id) references memberships (organization_id, user_id)
      )`);

    this.addSql(`
      create table audit_events (
        id uuid primary key,
        organization_id uuid,
        occur_time timestamptz not null default now(),
        actor_type text not null,
        actor_id text not null,
        action text not null,
        target_id text not null,
        detail jsonb not null
      )`);
    this.addSql("create index audit_events_organization_id_idx on audit_events (organization_id, id)");

    // What a cached answer may depend on, by the transaction that changed it.
    this.addSql(`
      create table changes (
        id bigint generated always as identity primary key,
        xid xid8 not null default pg_current_xact_id(),
        change_time timestamptz not null default now(),
        tags text[] not null
      )`);
    this.addSql("create index changes_xid_idx on changes (xid)");

    this.addSql(`
      insert into permissions (scope, name, description) values
        ('organization', 'auth.authenticate', 'Ask whom a credential of the organization stands for'),
        ('organization', 'auth.api_keys.read', 'Read the organization''s API keys'),
        ('organization', 'auth.api_keys.write', 'Create and revoke the organization''s API keys'),
        ('organization', 'auth.organizations.read', 'Read the organization itself'),
        ('organization', 'auth.users.read', 'Read the organization''s users'),
        ('organization', 'auth.users.write', 'Create, disable and enable the organization''s users'),
        ('organization', 'calls.read', 'Read call logs'),
        ('organization', 'calls.write', 'Manage calls'),
        ('organization', 'calls.click_to_call', 'Start click-to-call'),
        ('organization', 'calls.originate_ai', 'Originate calls to AI agents'),
        ('organization', 'calls.recording', 'Reach call recordings'),
        ('organization', 'calls.live', 'Watch live calls'),
        ('organization', 'calls.transfer', 'Transfer active calls'),
        ('organization', 'calls.hangup', 'Hang up active calls'),
        ('organization', 'calls.hold', 'Hold or unhold active calls'),
        ('platform', 'platform.api_keys.read', 'Read the API keys of every organization'),
        ('platform', 'platform.api_keys.write', 'Revoke the API keys of every organization'),
        ('platform', 'platform.organizations.read', 'Read every organization'),
        ('platform', 'platform.organizations.write', 'Create, suspend and resume organizations'),
        ('platform', 'platform.service_keys.read', 'Read the internal keys'),
        ('platform', 'platform.service_keys.write', 'Create and revoke internal keys'),
        ('platform', 'platform.users.read', 'Read the users of every organization'),
        ('platform', 'platform.users.write', 'Create, disable and enable the users of every organization')`);
  }
}
