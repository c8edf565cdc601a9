import type { KeyFormat } from "../credentials/imported-key/key-format.ts";
import type { KeyHashAlgorithm, SaltedAlgorithm } from "../credentials/imported-key/key-hash.ts";
import type { StoredDigest } from "../credentials/key-digest.ts";
import { type RateLimit, rateLimitOf } from "../credentials/rate-limit.ts";
import { LOOKUP_LENGTH } from "../credentials/secret-key.ts";
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

/** What is true of a key for whoever has proved to hold a secret of it: there is nothing left to compare. */
export type Standing<State extends KeyState> = Omit<State, "secret"> & {
  readonly secret: Omit<State["secret"], "stored">;
};

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

/** What is true of a token that was got with a key, and of all that it stands on. */
export type KeyTokenState = {
  readonly session: KeyTokenSession;
  readonly signingKey: SigningKeyState;
} & (
  | { readonly kind: "api_key"; readonly key: Standing<ApiKeyState> }
  | { readonly kind: "service"; readonly key: Standing<ServiceKeyState> }
  | {
      readonly kind: "delegation";
      readonly key: Standing<ServiceKeyState>;
      readonly user: SessionState["user"];
      readonly role: SessionState["role"];
      readonly organization: OrganizationView;
    }
);

/** Which kinds of token are got with keys. */
export type KeyTokenKind = KeyTokenState["kind"];

export interface KeyTokenSession {
  readonly id: string;
  readonly expireTime: Date;
  readonly revokeTime: Date | undefined;
  /** Names and patterns that it was narrowed to. Undefined: it was not. */
  readonly permissions: readonly string[] | undefined;
  /** The organization that it is bound to. Undefined: a service that may act for each. */
  readonly organizationId: string | undefined;
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
  /**
   * The same of a token that was got with a key, with that key and whoever else it stands on.
   *
   * @param organizationId the organization to act for, where the token leaves that open; empty for none.
   */
  keyToken(
    kind: KeyTokenKind,
    sessionId: string,
    kid: string,
    organizationId: string,
  ): Promise<KeyTokenState | undefined>;
}

const CATALOGUE = `
  now() as now,
  array(select name from permissions where scope = 'organization') as organization_catalogue,
  array(select name from permissions where scope = 'platform') as platform_catalogue`;

const ORGANIZATION = `
  o.id as organization_id, o.name as organization_name,
  o.suspend_time as organization_suspend_time, o.create_time as organization_create_time`;

const KEY_ITSELF = "k.id, k.name, k.permissions, k.allowed_cidrs, k.expire_time, k.revoke_time";

const KEY = `
  ${KEY_ITSELF},
  s.lookup_id, s.display_prefix, s.maker_ids, s.expire_time as secret_expire_time,
  s.digest, s.pepper_id, p.sealed_secret as sealed_pepper`;

const API_KEY_RIGHTS = `
  k.rate_limit_requests, k.rate_limit_window_seconds,
  k.owner_user_id, ${IS_ACTIVE_MEMBER} as owner_user_active,
  r.permissions as owner_role_permissions,
  k.owner_service_key_id,
  w.revoke_time is null and (w.expire_time is null or w.expire_time > now()) as owner_service_key_active,
  w.permissions as owner_service_key_permissions`;

const API_KEY_OWNER = `
  left join memberships m on m.organization_id = k.organization_id and m.user_id = k.owner_user_id
  left join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  left join service_keys w on w.id = k.owner_service_key_id`;

/** @param secrets one row for each secret of a key. @param more columns. */
const apiKeyFrom = (secrets: string, more = "") => `
  select ${KEY}${more}, ${API_KEY_RIGHTS}, ${ORGANIZATION}, ${CATALOGUE}
  from ${secrets} s
  join api_keys k on k.id = s.api_key_id and k.organization_id = s.organization_id
  join peppers p on p.id = s.pepper_id
  join organizations o on o.id = k.organization_id
  ${API_KEY_OWNER}`;

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
  left join organizations o on o.id = $2 and o.delete_time is null
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
    join organizations o on o.id = t.organization_id) on t.id = $1 and t.kind = 'login'`;

const KEY_TOKEN = `
  t.id as session_id, t.expire_time as session_expire_time, t.revoke_time as session_revoke_time,
  t.permissions as session_permissions, t.organization_id as session_organization_id,
  g.kid, g.algorithm, g.public_jwk, g.revoke_time as signing_key_revoke_time,
  coalesce(g.remove_time <= now(), false) as signing_key_is_gone`;

/** Of the secret that a token was got with. One that is gone has ended. */
const TOKEN_SECRET = `
  t.secret_id as lookup_id, coalesce(s.display_prefix, '') as display_prefix,
  coalesce(s.maker_ids, '{}') as maker_ids,
  case when s.lookup_id is null then now() else s.expire_time end as secret_expire_time`;

/** The secret of a key that was taken over may be in no slot yet. What a rotation has made is in one. */
const API_KEY_TOKEN = `
  select ${KEY_ITSELF}, ${TOKEN_SECRET}, ${API_KEY_RIGHTS}, ${KEY_TOKEN}, ${ORGANIZATION}, ${CATALOGUE}
  from sessions t
  join signing_keys g on g.kid = $2
  join api_keys k on k.organization_id = t.organization_id and k.id = t.api_key_id
  join organizations o on o.id = k.organization_id
  left join lateral (
    select lookup_id, display_prefix, maker_ids, expire_time
    from api_key_slots where lookup_id = t.secret_id and api_key_id = k.id
    union all
    select t.secret_id, '', '{}'::uuid[], h.expire_time
    from imported_key_hashes h
    where h.api_key_id = k.id and h.rehash_time is null and length(t.secret_id) <> ${LOOKUP_LENGTH}
    limit 1
  ) s on true
  ${API_KEY_OWNER}
  where t.id = $1 and t.kind = 'api_key'`;

const SERVICE_TOKEN = `
  select ${KEY_ITSELF}, ${TOKEN_SECRET}, ${KEY_TOKEN}, ${ORGANIZATION}, ${CATALOGUE}
  from sessions t
  join signing_keys g on g.kid = $2
  join service_keys k on k.id = t.service_key_id
  left join service_key_slots s on s.lookup_id = t.secret_id and s.service_key_id = k.id
  left join organizations o on o.id = coalesce(t.organization_id, $3) and o.delete_time is null
  where t.id = $1 and t.kind = 'service'`;

const DELEGATED_TOKEN = `
  select ${KEY_ITSELF}, ${TOKEN_SECRET}, ${KEY_TOKEN},
    u.id as user_id, u.email, u.platform_role,
    m.display_name, ${IS_ACTIVE_MEMBER} as user_active,
    r.name as role_name, r.permissions as role_permissions,
    ${ORGANIZATION}, ${CATALOGUE}
  from sessions t
  join signing_keys g on g.kid = $2
  join service_keys k on k.id = t.service_key_id
  left join service_key_slots s on s.lookup_id = t.secret_id and s.service_key_id = k.id
  join users u on u.id = t.user_id
  join memberships m on m.organization_id = t.organization_id and m.user_id = t.user_id
  join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  join organizations o on o.id = t.organization_id
  where t.id = $1 and t.kind = 'delegation'`;

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

interface StandingRow extends CatalogueRow {
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

interface KeyRow extends StandingRow {
  digest: Buffer;
  pepper_id: string;
  sealed_pepper: Buffer;
}

interface ApiKeyRightsRow extends OrganizationRow {
  rate_limit_requests: number | null;
  rate_limit_window_seconds: number | null;
  owner_user_id: string | null;
  owner_user_active: boolean | null;
  owner_role_permissions: string[] | null;
  owner_service_key_id: string | null;
  owner_service_key_active: boolean;
  owner_service_key_permissions: string[] | null;
}

interface ApiKeyRow extends KeyRow, ApiKeyRightsRow {}

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

interface KeyTokenRow extends StandingRow, SigningKeyRow {
  session_id: string;
  session_expire_time: Date;
  session_revoke_time: Date | null;
  session_permissions: string[] | null;
  session_organization_id: string | null;
}

interface ApiKeyTokenRow extends KeyTokenRow, ApiKeyRightsRow {}

interface ServiceTokenRow extends KeyTokenRow, Omit<OrganizationRow, "organization_id"> {
  organization_id: string | null;
}

interface DelegatedTokenRow extends KeyTokenRow, OrganizationRow, UserRow {}

interface UserRow {
  user_id: string;
  email: string;
  platform_role: string | null;
  display_name: string;
  user_active: boolean;
  role_name: string;
  role_permissions: string[];
}

interface SessionRow extends SigningKeyRow, CatalogueRow, OrganizationRow, UserRow {
  id: string | null;
  expire_time: Date;
  revoke_time: Date | null;
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
      return { ...keyState(row), organization: optionalOrganizationOf(row) };
    },

    async session(sessionId, kid) {
      const row = await storage.verify<SessionRow>("session", SESSION, [sessionId, kid]);
      if (row === undefined) {
        throw new Error("the session statement always has a row");
      }
      return { session: sessionOf(row), signingKey: signingKeyOf(row) };
    },

    async keyToken(kind, sessionId, kid, organizationId) {
      switch (kind) {
        case "api_key": {
          const values = [sessionId, kid];
          const row = await storage.verify<ApiKeyTokenRow>("api key token", API_KEY_TOKEN, values);
          return row && { ...keyTokenOf(row), kind, key: apiKeyStanding(row, standingOf(row)) };
        }
        case "service": {
          const values = [sessionId, kid, organizationId === "" ? null : organizationId];
          const row = await storage.verify<ServiceTokenRow>("service token", SERVICE_TOKEN, values);
          const key = row && { ...standingOf(row), organization: optionalOrganizationOf(row) };
          return row && key && { ...keyTokenOf(row), kind, key };
        }
        case "delegation": {
          const values = [sessionId, kid];
          const row = await storage.verify<DelegatedTokenRow>("delegated token", DELEGATED_TOKEN, values);
          if (row === undefined) {
            return undefined;
          }
          const organization = organizationOf(row);
          return {
            ...keyTokenOf(row),
            kind,
            key: { ...standingOf(row), organization },
            ...userOf(row),
            organization,
          };
        }
      }
    },
  };
}

function apiKeyState(row: ApiKeyRow): ApiKeyState {
  return apiKeyStanding(row, keyState(row));
}

function apiKeyStanding<State extends Standing<KeyState>>(row: ApiKeyRightsRow, state: State) {
  return {
    ...state,
    rateLimit: rateLimitOf(row.rate_limit_requests, row.rate_limit_window_seconds),
    organization: organizationOf(row),
    owner: ownerOf(row),
  };
}

function keyState(row: KeyRow): KeyState {
  const { secret, ...state } = standingOf(row);
  const stored = { digest: row.digest, pepperId: row.pepper_id, sealedPepper: row.sealed_pepper };
  return { ...state, secret: { ...secret, stored } };
}

function standingOf(row: StandingRow): Standing<KeyState> {
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

function optionalOrganizationOf(
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
    ...userOf(row),
    organization: organizationOf(row),
  };
}

function userOf(row: UserRow): Pick<SessionState, "user" | "role"> {
  return {
    user: {
      id: row.user_id,
      email: row.email,
      displayName: row.display_name,
      platformRole: row.platform_role ?? undefined,
      active: row.user_active,
    },
    role: { name: row.role_name, permissions: row.role_permissions },
  };
}

function keyTokenOf(row: KeyTokenRow): Pick<KeyTokenState, "session" | "signingKey"> {
  return {
    session: {
      id: row.session_id,
      expireTime: row.session_expire_time,
      revokeTime: row.session_revoke_time ?? undefined,
      permissions: row.session_permissions ?? undefined,
      organizationId: row.session_organization_id ?? undefined,
    },
    signingKey: stateOfSigningKey(row),
  };
}

function signingKeyOf(row: SigningKeyRow): SigningKeyState | undefined {
  return row.kid === null ? undefined : stateOfSigningKey(row);
}

function stateOfSigningKey(row: SigningKeyRow): SigningKeyState {
  return {
    algorithm: row.algorithm,
    publicJwk: row.public_jwk,
    revokeTime: row.signing_key_revoke_time ?? undefined,
    isGone: row.signing_key_is_gone,
  };
}
