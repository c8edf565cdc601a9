import { rateLimitOf } from "../credentials/rate-limit.ts";
import { IS_ACTIVE_MEMBER } from "../users/membership-entity.ts";
import { alikeList, alikeOrganization } from "./alike.ts";
import type { OrganizationView } from "./decision.ts";
import type { KeyState, Moment, MomentRow, OwnerState, SessionState, Standing } from "./live-state.ts";

export const ORGANIZATION = `
  o.id as organization_id, o.name as organization_name,
  o.suspend_time as organization_suspend_time, o.create_time as organization_create_time`;

export const KEY_ITSELF = "k.id, k.name, k.permissions, k.allowed_cidrs, k.expire_time, k.revoke_time";

export const KEY = `
  ${KEY_ITSELF},
  s.lookup_id, s.display_prefix, s.maker_ids, s.expire_time as secret_expire_time,
  s.digest, s.pepper_id, p.sealed_secret as sealed_pepper`;

export const API_KEY_RIGHTS = `
  k.rate_limit_requests, k.rate_limit_window_seconds,
  k.owner_user_id, ${IS_ACTIVE_MEMBER} as owner_user_active,
  r.id as owner_role_id, r.permissions as owner_role_permissions,
  k.owner_service_key_id,
  w.revoke_time is null as owner_service_key_active, w.expire_time as owner_service_key_expire_time,
  w.permissions as owner_service_key_permissions`;

export const API_KEY_OWNER = `
  left join memberships m on m.organization_id = k.organization_id and m.user_id = k.owner_user_id
  left join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  left join service_keys w on w.id = k.owner_service_key_id`;

/** A member, by their account `u`, their membership `m` and their role `r`. */
export const MEMBER_COLUMNS = `
  u.id as user_id, u.email, u.platform_role, m.display_name, ${IS_ACTIVE_MEMBER} as user_active,
  r.id as role_id, r.name as role_name, r.permissions as role_permissions`;

export interface OrganizationRow {
  organization_id: string;
  organization_name: string;
  organization_suspend_time: Date | null;
  organization_create_time: Date;
}

export interface StandingRow extends MomentRow {
  id: string;
  name: string;
  permissions: string[];
  allowed_cidrs: string[];
  expire_time: Date | null;
  revoke_time: Date | null;
  lookup_id: string;
  display_prefix: string;
  maker_ids: string[];
  secret_expire_time: Date | null;
}

export interface KeyRow extends StandingRow {
  digest: Buffer;
  pepper_id: string;
  sealed_pepper: Buffer;
}

export interface ApiKeyRightsRow extends OrganizationRow {
  rate_limit_requests: number | null;
  rate_limit_window_seconds: number | null;
  owner_user_id: string | null;
  owner_user_active: boolean | null;
  owner_role_id: string | null;
  owner_role_permissions: string[] | null;
  owner_service_key_id: string | null;
  owner_service_key_active: boolean;
  owner_service_key_expire_time: Date | null;
  owner_service_key_permissions: string[] | null;
}

export interface UserRow {
  user_id: string;
  email: string;
  platform_role: string | null;
  display_name: string;
  user_active: boolean;
  role_id: string;
  role_name: string;
  role_permissions: string[];
}

export function apiKeyStanding<State extends Standing<KeyState>>(row: ApiKeyRightsRow, state: State) {
  return {
    ...state,
    rateLimit: rateLimitOf(row.rate_limit_requests, row.rate_limit_window_seconds),
    organization: organizationOf(row),
    owner: ownerOf(row),
  };
}

export function keyState(row: KeyRow): KeyState {
  const { secret, ...state } = standingOf(row);
  const stored = { digest: row.digest, pepperId: row.pepper_id, sealedPepper: row.sealed_pepper };
  return { ...state, secret: { ...secret, stored } };
}

export function standingOf(row: StandingRow): Standing<KeyState> {
  return {
    ...momentOf(row),
    id: row.id,
    name: row.name,
    permissions: alikeList(row.permissions),
    allowedCidrs: alikeList(row.allowed_cidrs),
    expireTime: row.expire_time ?? undefined,
    revokeTime: row.revoke_time ?? undefined,
    secret: {
      lookupId: row.lookup_id,
      displayPrefix: row.display_prefix,
      makerIds: alikeList(row.maker_ids),
      expireTime: row.secret_expire_time ?? undefined,
    },
  };
}

export function momentOf(row: MomentRow): Moment {
  return { now: row.now, catalogue: row.catalogue };
}

export function organizationOf(row: OrganizationRow): OrganizationView {
  return alikeOrganization({
    id: row.organization_id,
    name: row.organization_name,
    suspended: row.organization_suspend_time !== null,
    createTime: row.organization_create_time,
  });
}

export function optionalOrganizationOf(
  row: Omit<OrganizationRow, "organization_id"> & { organization_id: string | null },
): OrganizationView | undefined {
  const { organization_id } = row;
  return organization_id === null ? undefined : organizationOf({ ...row, organization_id });
}

function ownerOf(row: ApiKeyRightsRow): OwnerState {
  if (row.owner_user_id !== null) {
    return {
      userId: row.owner_user_id,
      active: row.owner_user_active === true,
      expireTime: undefined,
      roleId: row.owner_role_id ?? undefined,
      rolePermissions: row.owner_role_permissions ?? [],
    };
  }
  if (row.owner_service_key_id !== null) {
    return {
      serviceKeyId: row.owner_service_key_id,
      active: row.owner_service_key_active,
      expireTime: row.owner_service_key_expire_time ?? undefined,
      keyPermissions: row.owner_service_key_permissions ?? [],
    };
  }
  throw new Error("an API key has an owner");
}

export function userOf(row: UserRow): Pick<SessionState, "user" | "role"> {
  return {
    user: {
      id: row.user_id,
      email: row.email,
      displayName: row.display_name,
      platformRole: row.platform_role ?? undefined,
      active: row.user_active,
    },
    role: { id: row.role_id, name: row.role_name, permissions: row.role_permissions },
  };
}
