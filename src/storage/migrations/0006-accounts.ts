import { Migration } from "@mikro-orm/migrations";

/** Accounts that wait to be claimed, invitations, passwords that have to be changed, and accounts that are gone. */
export class Accounts extends Migration {
  override up(): void {
    this.addSql(`
      alter table users
        alter column password_hash drop not null,
        add column password_change_required boolean not null default false,
        -- The organization that created the account.
        add column home_organization_id uuid references organizations (id),
        -- When somebody has shown that it is theirs. What the version before adds was, as it knows nothing else.
        add column claim_time timestamptz default now(),
        add column delete_time timestamptz,
        add constraint users_deleted_have_no_password check (delete_time is null or password_hash is null)`);
    this.addSql("update users set claim_time = create_time");
    // Also where they have left it: another organization does not come to manage the account by that.
    this.addSql(`
      update users u set home_organization_id = (
        select m.organization_id from memberships m
        where m.user_id = u.id and m.accept_time is not null
        order by m.create_time, m.id limit 1)`);
    this.addSql("create index users_home_organization_id_idx on users (home_organization_id)");

    // The secret with which a pending membership is accepted: its public part, and an HMAC like a key's.
    this.addSql(`
      alter table memberships
        add column invitation_lookup_id text constraint memberships_invitation_lookup_id_unique unique,
        add column invitation_digest bytea,
        add column invitation_pepper_id uuid references peppers (id),
        add column invitation_expire_time timestamptz,
        add constraint memberships_invitation_whole check (
          num_nulls(invitation_lookup_id, invitation_digest, invitation_pepper_id, invitation_expire_time) in (0, 4))`);

    // Whom a sealed answer tells of, so that it goes when they do.
    this.addSql("alter table idempotency_keys add column subject_id uuid");
  }
}
