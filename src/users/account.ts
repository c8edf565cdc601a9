import type { StoredDigest } from "../credentials/key-digest.ts";
import type { Storage } from "../storage/open-storage.ts";
import { IS_ACTIVE_MEMBER, IS_PENDING_MEMBER } from "./membership-entity.ts";

/** What is known of an email address when somebody comes with a proof. */
export interface Account {
  readonly userId: string;
  readonly email: string;
  /** Undefined: it was not claimed yet, and has no initial password. */
  readonly passwordHash: string | undefined;
  /** An initial or one-time password that is over. */
  readonly hasPasswordEnded: boolean;
  readonly isPasswordChangeRequired: boolean;
  /** Whether somebody has shown before that it is theirs. */
  readonly isClaimed: boolean;
  /** The organization that created it. */
  readonly homeOrganizationId: string | undefined;
  /** Those that were left, or where the person is disabled, are in neither list. */
  readonly active: readonly AccountMembership[];
  readonly pending: readonly PendingMembership[];
}

export interface AccountMembership {
  readonly organizationId: string;
  readonly organizationName: string;
  readonly displayName: string;
  readonly role: string;
  readonly suspended: boolean;
}

export interface PendingMembership extends AccountMembership {
  readonly invitation: Invitation | undefined;
}

/** What is kept of an invitation that is not over. */
export interface Invitation {
  readonly lookupId: string;
  readonly stored: StoredDigest;
}

/** A row for each membership, or one without any, or where nobody has the email, one with a decoy and nothing else. */
interface AccountRow {
  decoy_hash: string | null;
  id: string | null;
  email: string;
  password_hash: string | null;
  password_ended: boolean;
  password_change_required: boolean;
  is_claimed: boolean;
  home_organization_id: string | null;
  organization_id: string;
  organization_name: string;
  display_name: string;
  role: string;
  active: boolean | null;
  pending: boolean | null;
  suspended: boolean;
  invitation_lookup_id: string | null;
  invitation_digest: Buffer;
  invitation_pepper_id: string;
  sealed_pepper: Buffer;
  invitation_ended: boolean;
}

/**
 * Beside the user, somebody whose hash is the decoy: of each email always the same person, as good as drawn by lot.
 * While hashes differ in what they cost to check, those of other systems from ours, an email that nobody has costs
 * what a person's may, as often as a person's does.
 */
const ACCOUNT = `
  with decoy as (
    select coalesce(
      (select password_hash from users where id >= ? and password_hash is not null order by id limit 1),
      (select password_hash from users where password_hash is not null order by id limit 1)) as decoy_hash)
  select d.decoy_hash, u.id, u.email, u.password_hash, u.password_change_required,
    u.password_expire_time is not null and u.password_expire_time <= now() as password_ended,
    u.claim_time is not null as is_claimed, u.home_organization_id,
    m.organization_id, o.name as organization_name, m.display_name, r.name as role,
    ${IS_ACTIVE_MEMBER} as active, ${IS_PENDING_MEMBER} as pending,
    o.suspend_time is not null as suspended,
    m.invitation_lookup_id, m.invitation_digest, m.invitation_pepper_id, p.sealed_secret as sealed_pepper,
    m.invitation_expire_time <= now() as invitation_ended
  from decoy d
  left join users u on u.email = ?
  left join memberships m on m.user_id = u.id
  left join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  left join organizations o on o.id = m.organization_id
  left join peppers p on p.id = m.invitation_pepper_id`;

/**
 * Reads an account in one statement, whatever it is like, and the hash of somebody else to do the same work with.
 *
 * @param email in canonical form.
 * @param decoyAt where among the ids of users the somebody else is looked for.
 */
export async function readAccount(
  storage: Storage,
  email: string,
  decoyAt: string,
): Promise<{ readonly account: Account | undefined; readonly decoyHash: string | undefined }> {
  const rows: AccountRow[] = await storage.fork().execute(ACCOUNT, [decoyAt, email]);
  const decoyHash = rows[0]?.decoy_hash ?? undefined;
  return { account: accountOf(rows), decoyHash };
}

function accountOf(rows: readonly AccountRow[]): Account | undefined {
  const [user] = rows;
  if (user === undefined || user.id === null) {
    return undefined;
  }
  return {
    userId: user.id,
    email: user.email,
    passwordHash: user.password_hash ?? undefined,
    hasPasswordEnded: user.password_ended,
    isPasswordChangeRequired: user.password_change_required,
    isClaimed: user.is_claimed,
    homeOrganizationId: user.home_organization_id ?? undefined,
    active: rows.filter((row) => row.active).map(membershipOf),
    pending: rows
      .filter((row) => row.pending)
      .map((row) => ({ ...membershipOf(row), invitation: invitationOf(row) })),
  };
}

function membershipOf(row: AccountRow): AccountMembership {
  return {
    organizationId: row.organization_id,
    organizationName: row.organization_name,
    displayName: row.display_name,
    role: row.role,
    suspended: row.suspended,
  };
}

function invitationOf(row: AccountRow): Invitation | undefined {
  if (row.invitation_lookup_id === null || row.invitation_ended) {
    return undefined;
  }
  return {
    lookupId: row.invitation_lookup_id,
    stored: {
      digest: row.invitation_digest,
      pepperId: row.invitation_pepper_id,
      sealedPepper: row.sealed_pepper,
    },
  };
}
