import { Migration } from "@mikro-orm/migrations";

/** The record of what happened: personal data apart from it, a chain over it, and signed checkpoints of that. */
export class Audit extends Migration {
  override up(): void {
    // Whose record an event belongs to: an organization's, or the platform's, which has the nil UUID.
    this.addSql(`
      alter table audit_events
        add column on_behalf_of text,
        add column request_id text not null default '',
        add column personal_digest bytea,
        add column chain uuid not null generated always as
          (coalesce(organization_id, '00000000-0000-0000-0000-000000000000'::uuid)) stored`);
    this.addSql("create index audit_events_chain_occur_time_id_idx on audit_events (chain, occur_time, id)");
    this.addSql("drop index audit_events_organization_id_idx");

    // What an event says of people. Erased, it is a digest under a salt that nobody knows any more.
    this.addSql(`
      create table audit_personal_data (
        event_id uuid not null,
        position smallint not null,
        user_id uuid,
        salt bytea,
        data text,
        digest bytea not null,
        primary key (event_id, position),
        check ((salt is null) = (data is null))
      )`);
    this.addSql(`
      create index audit_personal_data_user_id_idx on audit_personal_data (user_id) where data is not null`);

    // Whose data was erased lately: what is recorded of them at the same time is erased a little later.
    this.addSql(`
      create table audit_erasures (
        user_id uuid primary key,
        erase_time timestamptz not null default now()
      )`);

    // Which events wait for their seals. It is a trigger that puts them there, whoever adds an event.
    this.addSql(`
      create table audit_unsealed (
        event_id uuid primary key,
        chain uuid not null
      )`);
    this.addSql(`
      create table audit_seals (
        chain uuid not null,
        sequence bigint not null check (sequence > 0),
        event_id uuid not null constraint audit_seals_event_id_key unique,
        event_digest bytea not null,
        hash bytea not null,
        primary key (chain, sequence)
      )`);
    this.addSql(`
      create table audit_checkpoints (
        id uuid primary key,
        chain uuid not null,
        sequence bigint not null,
        jws text not null
      )`);
    this.addSql(
      "create index audit_checkpoints_chain_sequence_idx on audit_checkpoints (chain, sequence, id)",
    );
    this.addSql("create index audit_checkpoints_chain_id_idx on audit_checkpoints (chain, id)");
    // The chains that have grown since their last checkpoint, and when the next one is to be made.
    this.addSql(`
      create table audit_due_checkpoints (
        chain uuid primary key,
        due_time timestamptz not null
      )`);
    this.addSql(`
      create table audit_keys (
        kid text primary key,
        sealed_private_key bytea not null,
        create_time timestamptz not null default now()
      )`);

    this.#movePersonalData();
    this.addSql("insert into audit_unsealed (event_id, chain) select id, chain from audit_events");
    this.addSql(`
      create function audit_events_wait_for_seals() returns trigger language plpgsql as $$
      begin
        insert into audit_unsealed (event_id, chain) select id, chain from added;
        return null;
      end $$`);
    this.addSql(`
      create trigger audit_events_wait_for_seals after insert on audit_events
        referencing new table as added for each statement execute function audit_events_wait_for_seals()`);

    this.addSql(`
      insert into permissions (scope, name, description) values
        ('organization', 'auth.audit.read', 'Read and verify the organization''s audit record'),
        ('platform', 'platform.audit.read', 'Read and verify the audit record of the platform and of every organization')`);
  }

  /** Events of before had it among the rest. */
  #movePersonalData(): void {
    this.addSql(`
      with personal as (
        select id, target_id,
          case action
            when 'user.create' then jsonb_build_object('after', jsonb_build_object(
              'email', detail #> '{after,email}', 'displayName', detail #> '{after,displayName}'))
            else jsonb_build_object('after', jsonb_build_object('email', detail -> 'email'))
          end::text as data,
          decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex') as salt,
          case action
            when 'administrator.bootstrap' then target_id::uuid
            when 'user.create' then target_id::uuid
            else (select u.id from users u where u.email = detail ->> 'email')
          end as user_id
        from audit_events
        where action in ('user.create', 'administrator.bootstrap', 'development.seed')
      ), moved as (
        insert into audit_personal_data (event_id, position, user_id, salt, data, digest)
        select id, 0, user_id, salt, data,
          sha256(salt || convert_to(coalesce(user_id::text, '') || ' ' || data, 'UTF8'))
        from personal
        returning event_id, digest
      )
      update audit_events e set
        personal_digest = sha256(moved.digest),
        detail = (detail #- '{after,email}' #- '{after,displayName}') - 'email'
      from moved where moved.event_id = e.id`);
  }
}
