import type { StoredDigest } from "../credentials/key-digest.ts";
import type { Catalogue } from "../permissions/permission-pattern.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { OrganizationView } from "./decision.ts";

/** What every lookup tells besides its subject. Times are the database's. */
interface Moment {
  readonly now: Date;
  readonly catalogue: Catalogue;
}

/** The rights of whoever a key stands on, as they are now. Undefined: they have none any more. */
export type OwnerState =
  | {
      readonly userId: string;
      readonly active: boolean;
      readonly rolePermissions: readonly string[];
    }
  | {
      readonly serviceKeyId: string;
      readonly active: boolean;
      readonly keyPermissions: readonly string[];
    };

export interface ApiKeyState extends Moment {
  readonly id: string;
  readonly name: string;
  readonly permissions: readonly string[];
  readonly allowedCidrs: readonly string[];
  readonly expireTime: Date | undefined;
  readonly revokeTime: Date | undefined;
  readonly stored: StoredDigest;
  readonly organization: OrganizationView;
  readonly owner: OwnerState;
}

export interface ServiceKeyState extends Moment {
  readonly id: string;
  readonly name: string;
  readonly permissions: readonly string[];
  readonly allowedCidrs: readonly string[];
  readonly expireTime: Date | undefined;
  readonly revokeTime: Date | undefined;
  readonly stored: StoredDigest;
  /** The organization that it is to act for, where one was named and exists. */
  readonly organization: OrganizationView | undefined;
}

export interface SessionState extends Moment {
  readonly id: string;
  readonly expireTime: Date;
  readonly revokeTime: Date | undefined;
  readonly user: {
    readonly id: string;
    readonly email: string;
    readonly displayName: string;
    readonly platformRole: string | undefined;
    /** Accepted, and not disabled. */
    readonly active: boolean;
  };
  readonly role: { readonly name: string; readonly permissions: readonly string[] };
  readonly organization: OrganizationView;
}

/** What is known of a signing key. */
export interface SigningKeyState {
  readonly algorithm: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  readonly revokeTime: Date | undefined;
}

/**
 * What is true now of a credential: the one place where the verify path meets the database, with one
 * statement for each question. Nothing here decides.
 */
export interface LiveState {
  apiKey(lookupId: string): Promise<ApiKeyState | undefined>;
  /** @param organizationId the organization to act for; empty for none. */
  serviceKey(lookupId: string, organizationId: string): Promise<ServiceKeyState | undefined>;
  /** The session of a token and the key that the token says it was signed with. */
  session(
    sessionId: string,
    kid: string,
  ): Promise<{ session: SessionState | undefined; signingKey: SigningKeyState | undefined }>;
}

const CATALOGUE = `
  now() as now,
  array(select name from permissions where scope = 'organization') as organization_catalogue,
  array(select name from permissions where scope = 'platform') as platform_catalogue`;

const ORGANIZATION = `
  o.id as organization_id, o.name as organization_name,
  o.suspend_time as organization_suspend_time, o.create_time as organization_create_time`;

const API_KEY = `
  select k.id, k.name, k.permissions, k.allowed_cidrs, k.revoke_time,
    least(k.expire_time, s.expire_time) as expire_time,
    s.digest, s.pepper_id, p.sealed_secret as sealed_pepper,
    k.owner_user_id, m.accept_time is not null and m.disable_time is null as owner_user_active,
    r.permissions as owner_role_permissions,
    k.owner_service_key_id,
    w.revoke_time is null and (w.expire_time is null or w.expire_time > now()) as owner_service_key_active,
    w.permissions as owner_service_key_permissions,
    ${ORGANIZATION}, ${CATALOGUE}
  from api_key_slots s
  join api_keys k on k.id = s.api_key_id and k.organization_id = s.organization_id
  join peppers p on p.id = s.pepper_id
  join organizations o on o.id = k.organization_id
  left join memberships m on m.organization_id = k.organization_id and m.user_id = k.owner_user_id
  left join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  left join service_keys w on w.id = k.owner_service_key_id
  where s.lookup_id = $1`;

const SERVICE_KEY = `
  select k.id, k.name, k.permissions, k.allowed_cidrs, k.revoke_time,
    least(k.expire_time, s.expire_time) as expire_time,
    s.digest, s.pepper_id, p.sealed_secret as sealed_pepper,
    ${ORGANIZATION}, ${CATALOGUE}
  from service_key_slots s
  join service_keys k on k.id = s.service_key_id
  join peppers p on p.id = s.pepper_id
  left join organizations o on o.id = $2
  where s.lookup_id = $1`;

const SESSION = `
  select g.kid, g.algorithm, g.public_jwk, g.revoke_time as signing_key_revoke_time,
    t.id, t.expire_time, t.revoke_time, u.id as user_id, u.email, u.platform_role,
    m.display_name, m.accept_time is not null and m.disable_time is null as user_active,
    r.name as role_name, r.permissions as role_permissions,
    ${ORGANIZATION}, ${CATALOGUE}
  from (select) as always
  left join signing_keys g on g.kid = $2
  left join (sessions t
    join users u on u.id = t.user_id
    join memberships m on m.organization_id = t.organization_id and m.user_id = t.user_id
    join roles r on r.organization_id = m.organization_id and r.id = m.role_id
    join organizations o on o.id = t.organization_id) on t.id = $1`;

interface CatalogueRow {
  now: Date;
  organization_catalogue: string[];
  platform_catalogue: string[];
}

interface OrganizationRow {
  organization_id: string;
  organization_name: string;
  organization_suspend_time: Date | null;
  organization_create_time: Date;
}

interface KeyRow extends CatalogueRow {
  id: string;
  name: string;
  permissions: string[];
  allowed_cidrs: string[];
  expire_time: Date | null;
  revoke_time: Date | null;
  digest: Buffer;
  pepper_id: string;
  sealed_pepper: Buffer;
}

interface ApiKeyRow extends KeyRow, OrganizationRow {
  owner_user_id: string | null;
  owner_user_active: boolean | null;
  owner_role_permissions: string[] | null;
  owner_service_key_id: string | null;
  owner_service_key_active: boolean;
  owner_service_key_permissions: string[] | null;
}

interface ServiceKeyRow extends KeyRow, Omit<OrganizationRow, "organization_id"> {
  organization_id: string | null;
}

interface SigningKeyRow {
  kid: string | null;
  algorithm: string;
  public_jwk: Record<string, unknown>;
  signing_key_revoke_time: Date | null;
}

interface SessionRow extends SigningKeyRow, CatalogueRow, OrganizationRow {
  id: string | null;
  expire_time: Date;
  revoke_time: Date | null;
  user_id: string;
  email: string;
  platform_role: string | null;
  display_name: string;
  user_active: boolean;
  role_name: string;
  role_permissions: string[];
}

export function createLiveState(storage: Storage): LiveState {
  return {
    async apiKey(lookupId) {
      const row = await storage.verify<ApiKeyRow>("api key", API_KEY, [lookupId]);
      return row && { ...keyState(row), organization: organizationOf(row), owner: ownerOf(row) };
    },

    async serviceKey(lookupId, organizationId) {
      const row = await storage.verify<ServiceKeyRow>("service key", SERVICE_KEY, [
        lookupId,
        organizationId === "" ? null : organizationId,
      ]);
      if (row === undefined) {
        return undefined;
      }
      const { organization_id, ...rest } = row;
      const organization =
        organization_id === null ? undefined : organizationOf({ ...rest, organization_id });
      return { ...keyState(row), organization };
    },

    async session(sessionId, kid) {
      const row = await storage.verify<SessionRow>("session", SESSION, [sessionId, kid]);
      if (row === undefined) {
        throw new Error("the session statement always has a row");
      }
      return { session: sessionOf(row), signingKey: signingKeyOf(row) };
    },
  };
}

function keyState(row: KeyRow) {
  return {
    ...momentOf(row),
    id: row.id,
    name: row.name,
    permissions: row.permissions,
    allowedCidrs: row.allowed_cidrs,
    expireTime: row.expire_time ?? undefined,
    revokeTime: row.revoke_time ?? undefined,
    stored: { digest: row.digest, pepperId: row.pepper_id, sealedPepper: row.sealed_pepper },
  };
}

function momentOf(row: CatalogueRow): Moment {
  return {
    now: row.now,
    catalogue: { organization: row.organization_catalogue, platform: row.platform_catalogue },
  };
}

function organizationOf(row: OrganizationRow): OrganizationView {
  return {
    id: row.organization_id,
    name: row.organization_name,
    suspended: row.organization_suspend_time !== null,
    createTime: row.organization_create_time,
  };
}

function ownerOf(row: ApiKeyRow): OwnerState {
  if (row.owner_user_id !== null) {
    return {
      userId: row.owner_user_id,
      active: row.owner_user_active === true,
      rolePermissions: row.owner_role_permissions ?? [],
    };
  }
  if (row.owner_service_key_id !== null) {
    return {
      serviceKeyId: row.owner_service_key_id,
      active: row.owner_service_key_active,
      keyPermissions: row.owner_service_key_permissions ?? [],
    };
  }
  throw new Error("an API key has an owner");
}

function sessionOf(row: SessionRow): SessionState | undefined {
  if (row.id === null) {
    return undefined;
  }
  return {
    ...momentOf(row),
    id: row.id,
    expireTime: row.expire_time,
    revokeTime: row.revoke_time ?? undefined,
    user: {
      id: row.user_id,
      email: row.email,
      displayName: row.display_name,
      platformRole: row.platform_role ?? undefined,
      active: row.user_active,
    },
    role: { name: row.role_name, permissions: row.role_permissions },
    organization: organizationOf(row),
  };
}

function signingKeyOf(row: SessionRow): SigningKeyState | undefined {
  if (row.kid === null) {
    return undefined;
  }
  return {
    algorithm: row.algorithm,
    publicJwk: row.public_jwk,
    revokeTime: row.signing_key_revoke_time ?? undefined,
  };
}
