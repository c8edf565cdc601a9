import type { KeyFormat } from "../credentials/imported-key/key-format.ts";
import type { KeyHashAlgorithm, SaltedAlgorithm } from "../credentials/imported-key/key-hash.ts";
import type { StoredDigest } from "../credentials/key-digest.ts";
import { type RateLimit, rateLimitOf } from "../credentials/rate-limit.ts";
import type { Catalogue } from "../permissions/permission-pattern.ts";
import type { Storage } from "../storage/open-storage.ts";
import { IS_ACTIVE_MEMBER } from "../users/membership-entity.ts";
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

/** What is true of a key, and of the one of its secrets that was asked about. */
export interface KeyState extends Moment {
  readonly id: string;
  readonly name: string;
  readonly permissions: readonly string[];
  readonly allowedCidrs: readonly string[];
  readonly expireTime: Date | undefined;
  readonly revokeTime: Date | undefined;
  readonly secret: {
    readonly lookupId: string;
    readonly displayPrefix: string;
    /** Through whose hands it came. */
    readonly makerIds: readonly string[];
    /** The end of an overlap. Undefined: it ends with the key. */
    readonly expireTime: Date | undefined;
    readonly stored: StoredDigest;
  };
}

export interface ApiKeyState extends KeyState {
  readonly rateLimit: RateLimit | undefined;
  readonly organization: OrganizationView;
  readonly owner: OwnerState;
}

/** How the texts of another system's keys look, and how that hashed them. */
export interface KeyFormatState extends KeyFormat {
  readonly id: string;
  readonly algorithm: KeyHashAlgorithm;
  /** Of an HMAC. */
  readonly sealedHmacSecret: Buffer | undefined;
}

export interface ImportedKeyState extends ApiKeyState {
  /** Whether no slot has its secret yet. What is stored is then of its foreign hash, and nothing is shown. */
  readonly isPending: boolean;
}

/** A salted hash that a text may be of. */
export interface SaltedHashState {
  readonly fingerprint: Buffer;
  readonly algorithm: SaltedAlgorithm;
  readonly hash: string;
  readonly lookupPrefix: string;
  readonly organizationId: string;
}

export interface ServiceKeyState extends KeyState {
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
  /** It is published no more: every token that it has signed has expired. */
  readonly isGone: boolean;
}

/**
 * What is true now of a credential: the one place where the verify path meets the database, with one
 * statement for each question. Nothing here decides.
 */
export interface LiveState {
  apiKey(lookupId: string): Promise<ApiKeyState | undefined>;
  /** Every declared format of other systems' keys. What it tells changes with the tag `key_formats`. */
  keyFormats(): Promise<readonly KeyFormatState[]>;
  /**
   * The key of another system that a text is of: by its slot, or by its foreign hash until it has one. That
   * there is none must not be remembered: a first use may be putting it into a slot.
   */
  importedKey(
    lookupId: string,
    fingerprints: readonly Buffer[],
    formatIds: readonly string[],
  ): Promise<ImportedKeyState | undefined>;
  /**
   * The salted hashes that a text may be of, at most three, and whether it is in a slot meanwhile. It must not
   * be remembered either.
   */
  saltedHashes(
    lookupId: string,
    lookupPrefixes: readonly string[],
    formatIds: readonly string[],
  ): Promise<{ readonly candidates: readonly SaltedHashState[]; readonly hasSlot: boolean }>;
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

const KEY = `
  k.id, k.name, k.permissions, k.allowed_cidrs, k.expire_time, k.revoke_time,
  s.lookup_id, s.display_prefix, s.maker_ids, s.expire_time as secret_expire_time,
  s.digest, s.pepper_id, p.sealed_secret as sealed_pepper`;

/** @param secrets one row for each secret of a key. @param more columns. */
const apiKeyFrom = (secrets: string, more = "") => `
  select ${KEY}${more}, k.rate_limit_requests, k.rate_limit_window_seconds,
    k.owner_user_id, ${IS_ACTIVE_MEMBER} as owner_user_active,
    r.permissions as owner_role_permissions,
    k.owner_service_key_id,
    w.revoke_time is null and (w.expire_time is null or w.expire_time > now()) as owner_service_key_active,
    w.permissions as owner_service_key_permissions,
    ${ORGANIZATION}, ${CATALOGUE}
  from ${secrets} s
  join api_keys k on k.id = s.api_key_id and k.organization_id = s.organization_id
  join peppers p on p.id = s.pepper_id
  join organizations o on o.id = k.organization_id
  left join memberships m on m.organization_id = k.organization_id and m.user_id = k.owner_user_id
  left join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  left join service_keys w on w.id = k.owner_service_key_id`;

const API_KEY = `${apiKeyFrom("api_key_slots")} where s.lookup_id = $1`;

const KEY_FORMATS = `
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', id, 'prefix', prefix, 'length', length, 'alphabet', alphabet, 'algorithm', algorithm,
    'sealedHmacSecret', encode(sealed_hmac_secret, 'base64'))), '[]') as formats
  from imported_key_formats`;

/** In one statement: between two, a first use could move a secret from the one place to the other. */
const IMPORTED_KEY = `${apiKeyFrom(
  `(
    select lookup_id, organization_id, api_key_id, display_prefix, maker_ids, digest, pepper_id, expire_time,
      false as is_pending
    from api_key_slots where lookup_id = $1
    union all
    select $1, organization_id, api_key_id, '', '{}'::uuid[], fingerprint, pepper_id, expire_time, true
    from imported_key_hashes
    where fingerprint = any($2::bytea[]) and format_id = any($3::uuid[]) and rehash_time is null
  )`,
  ", s.is_pending",
)} order by s.is_pending, k.id limit 1`;

/**
 * Those that live come first: the others are tried only where there is room. They are few: a look at the key of
 * each is cheaper than any join that could be planned.
 */
const SALTED_HASHES = `
  select exists (select from api_key_slots where lookup_id = $1) as has_slot,
    coalesce(jsonb_agg(jsonb_build_object(
      'fingerprint', encode(fingerprint, 'base64'), 'algorithm', algorithm, 'hash', salted_hash,
      'lookupPrefix', lookup_prefix, 'organizationId', organization_id) order by has_ended, api_key_id), '[]') as candidates
  from (
    select h.*, (select f.algorithm from imported_key_formats f where f.id = h.format_id) as algorithm,
      coalesce(h.expire_time <= now(), false)
        or (select k.revoke_time is not null from api_keys k where k.id = h.api_key_id) as has_ended
    from imported_key_hashes h
    where h.lookup_prefix = any($2::text[]) and h.format_id = any($3::uuid[])
    order by has_ended, h.api_key_id limit 3
  ) alike`;

const SERVICE_KEY = `
  select ${KEY}, ${ORGANIZATION}, ${CATALOGUE}
  from service_key_slots s
  join service_keys k on k.id = s.service_key_id
  join peppers p on p.id = s.pepper_id
  left join organizations o on o.id = $2
  where s.lookup_id = $1`;

const SESSION = `
  select g.kid, g.algorithm, g.public_jwk, g.revoke_time as signing_key_revoke_time,
    coalesce(g.remove_time <= now(), false) as signing_key_is_gone,
    t.id, t.expire_time, t.revoke_time, u.id as user_id, u.email, u.platform_role,
    m.display_name, ${IS_ACTIVE_MEMBER} as user_active,
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
  lookup_id: string;
  display_prefix: string;
  maker_ids: string[];
  secret_expire_time: Date | null;
  digest: Buffer;
  pepper_id: string;
  sealed_pepper: Buffer;
}

interface ApiKeyRow extends KeyRow, OrganizationRow {
  rate_limit_requests: number | null;
  rate_limit_window_seconds: number | null;
  owner_user_id: string | null;
  owner_user_active: boolean | null;
  owner_role_permissions: string[] | null;
  owner_service_key_id: string | null;
  owner_service_key_active: boolean;
  owner_service_key_permissions: string[] | null;
}

interface ImportedKeyRow extends ApiKeyRow {
  is_pending: boolean;
}

interface KeyFormatsRow {
  formats: (Omit<KeyFormatState, "sealedHmacSecret"> & { sealedHmacSecret: string | null })[];
}

interface SaltedHashesRow {
  has_slot: boolean;
  candidates: (Omit<SaltedHashState, "fingerprint"> & { fingerprint: string })[];
}

interface ServiceKeyRow extends KeyRow, Omit<OrganizationRow, "organization_id"> {
  organization_id: string | null;
}

interface SigningKeyRow {
  kid: string | null;
  algorithm: string;
  public_jwk: Record<string, unknown>;
  signing_key_revoke_time: Date | null;
  signing_key_is_gone: boolean;
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
      return row && apiKeyState(row);
    },

    async keyFormats() {
      const row = await storage.verify<KeyFormatsRow>("key formats", KEY_FORMATS, []);
      return (row?.formats ?? []).map(({ sealedHmacSecret, ...format }) => ({
        ...format,
        sealedHmacSecret: sealedHmacSecret === null ? undefined : Buffer.from(sealedHmacSecret, "base64"),
      }));
    },

    async importedKey(lookupId, fingerprints, formatIds) {
      const values = [lookupId, fingerprints, formatIds];
      const row = await storage.verify<ImportedKeyRow>("imported key", IMPORTED_KEY, values);
      return row && { ...apiKeyState(row), isPending: row.is_pending };
    },

    async saltedHashes(lookupId, lookupPrefixes, formatIds) {
      const values = [lookupId, lookupPrefixes, formatIds];
      const row = await storage.verify<SaltedHashesRow>("salted hashes", SALTED_HASHES, values);
      const candidates = (row?.candidates ?? []).map(({ fingerprint, ...candidate }) => ({
        ...candidate,
        fingerprint: Buffer.from(fingerprint, "base64"),
      }));
      return { candidates, hasSlot: row?.has_slot === true };
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

function apiKeyState(row: ApiKeyRow): ApiKeyState {
  return {
    ...keyState(row),
    rateLimit: rateLimitOf(row.rate_limit_requests, row.rate_limit_window_seconds),
    organization: organizationOf(row),
    owner: ownerOf(row),
  };
}

function keyState(row: KeyRow): KeyState {
  return {
    ...momentOf(row),
    id: row.id,
    name: row.name,
    permissions: row.permissions,
    allowedCidrs: row.allowed_cidrs,
    expireTime: row.expire_time ?? undefined,
    revokeTime: row.revoke_time ?? undefined,
    secret: {
      lookupId: row.lookup_id,
      displayPrefix: row.display_prefix,
      makerIds: row.maker_ids,
      expireTime: row.secret_expire_time ?? undefined,
      stored: { digest: row.digest, pepperId: row.pepper_id, sealedPepper: row.sealed_pepper },
    },
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
    isGone: row.signing_key_is_gone,
  };
}
