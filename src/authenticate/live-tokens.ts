import { LOOKUP_LENGTH } from "../credentials/secret-key.ts";
import {
  API_KEY_OWNER,
  API_KEY_RIGHTS,
  type ApiKeyRightsRow,
  apiKeyStanding,
  KEY_ITSELF,
  MEMBER_COLUMNS,
  momentOf,
  ORGANIZATION,
  type OrganizationRow,
  optionalOrganizationOf,
  organizationOf,
  type StandingRow,
  standingOf,
  type UserRow,
  userOf,
} from "./live-rows.ts";
import type {
  AskNow,
  KeyTokenState,
  LiveState,
  MomentRow,
  SessionState,
  SigningKeyState,
} from "./live-state.ts";

const SESSION = `
  select g.kid, g.algorithm, g.public_jwk, g.revoke_time as signing_key_revoke_time,
    g.remove_time as signing_key_remove_time,
    t.id, t.expire_time, t.revoke_time, ${MEMBER_COLUMNS},
    ${ORGANIZATION}
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
  g.remove_time as signing_key_remove_time`;

/** Of the secret that a token was got with. One that is gone has ended. */
const TOKEN_SECRET = `
  t.secret_id as lookup_id, coalesce(s.display_prefix, '') as display_prefix,
  coalesce(s.maker_ids, '{}') as maker_ids,
  case when s.lookup_id is null then now() else s.expire_time end as secret_expire_time`;

/** The secret of a key that was taken over may be in no slot yet. What a rotation has made is in one. */
const API_KEY_TOKEN = `
  select ${KEY_ITSELF}, ${TOKEN_SECRET}, ${API_KEY_RIGHTS}, ${KEY_TOKEN}, ${ORGANIZATION}
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
  select ${KEY_ITSELF}, ${TOKEN_SECRET}, ${KEY_TOKEN}, ${ORGANIZATION}
  from sessions t
  join signing_keys g on g.kid = $2
  join service_keys k on k.id = t.service_key_id
  left join service_key_slots s on s.lookup_id = t.secret_id and s.service_key_id = k.id
  left join organizations o on o.id = coalesce(t.organization_id, $3) and o.delete_time is null
  where t.id = $1 and t.kind = 'service'`;

const DELEGATED_TOKEN = `
  select ${KEY_ITSELF}, ${TOKEN_SECRET}, ${KEY_TOKEN},
    ${MEMBER_COLUMNS},
    ${ORGANIZATION}
  from sessions t
  join signing_keys g on g.kid = $2
  join service_keys k on k.id = t.service_key_id
  left join service_key_slots s on s.lookup_id = t.secret_id and s.service_key_id = k.id
  join users u on u.id = t.user_id
  join memberships m on m.organization_id = t.organization_id and m.user_id = t.user_id
  join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  join organizations o on o.id = t.organization_id
  where t.id = $1 and t.kind = 'delegation'`;

interface SigningKeyRow {
  kid: string;
  algorithm: string;
  public_jwk: Record<string, unknown>;
  signing_key_revoke_time: Date | null;
  signing_key_remove_time: Date | null;
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

/** It has its columns where there is such a session, and those of the signing key where there is such a key. */
interface SessionRow extends Omit<SigningKeyRow, "kid">, MomentRow, OrganizationRow, UserRow {
  kid: string | null;
  id: string | null;
  expire_time: Date;
  revoke_time: Date | null;
}

/** Of tokens, with all that they stand on. */
export function liveTokens(ask: AskNow): Pick<LiveState, "session" | "keyToken"> {
  return {
    async session(sessionId, kid) {
      const row = await ask<SessionRow>("session", SESSION, [sessionId, kid]);
      if (row === undefined) {
        throw new Error("the session statement always has a row");
      }
      return { session: sessionOf(row), signingKey: signingKeyOf(row) };
    },

    async keyToken(kind, sessionId, kid, organizationId) {
      switch (kind) {
        case "api_key": {
          const values = [sessionId, kid];
          const row = await ask<ApiKeyTokenRow>("api key token", API_KEY_TOKEN, values);
          return row && { ...keyTokenOf(row), kind, key: apiKeyStanding(row, standingOf(row)) };
        }
        case "service": {
          const values = [sessionId, kid, organizationId === "" ? null : organizationId];
          const row = await ask<ServiceTokenRow>("service token", SERVICE_TOKEN, values);
          const key = row && { ...standingOf(row), organization: optionalOrganizationOf(row) };
          return row && key && { ...keyTokenOf(row), kind, key };
        }
        case "delegation": {
          const values = [sessionId, kid];
          const row = await ask<DelegatedTokenRow>("delegated token", DELEGATED_TOKEN, values);
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

function signingKeyOf({ kid, ...row }: SessionRow): SigningKeyState | undefined {
  return kid === null ? undefined : stateOfSigningKey({ ...row, kid });
}

function stateOfSigningKey(row: SigningKeyRow): SigningKeyState {
  return {
    kid: row.kid,
    algorithm: row.algorithm,
    publicJwk: row.public_jwk,
    revokeTime: row.signing_key_revoke_time ?? undefined,
    removeTime: row.signing_key_remove_time ?? undefined,
  };
}
