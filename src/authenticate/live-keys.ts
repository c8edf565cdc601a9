import {
  API_KEY_OWNER,
  API_KEY_RIGHTS,
  type ApiKeyRightsRow,
  apiKeyStanding,
  KEY,
  type KeyRow,
  keyState,
  ORGANIZATION,
  type OrganizationRow,
  optionalOrganizationOf,
} from "./live-rows.ts";
import type { AskNow, LiveState } from "./live-state.ts";

/** @param secrets one row for each secret of a key. @param more columns. */
export const apiKeyFrom = (secrets: string, more = "") => `
  select ${KEY}${more}, ${API_KEY_RIGHTS}, ${ORGANIZATION}
  from ${secrets} s
  join api_keys k on k.id = s.api_key_id and k.organization_id = s.organization_id
  join peppers p on p.id = s.pepper_id
  join organizations o on o.id = k.organization_id
  ${API_KEY_OWNER}`;

const API_KEY = `${apiKeyFrom("api_key_slots")} where s.lookup_id = $1`;

const SERVICE_KEY = `
  select ${KEY}, ${ORGANIZATION}
  from service_key_slots s
  join service_keys k on k.id = s.service_key_id
  join peppers p on p.id = s.pepper_id
  left join organizations o on o.id = $2 and o.delete_time is null
  where s.lookup_id = $1`;

export interface ApiKeyRow extends KeyRow, ApiKeyRightsRow {}

interface ServiceKeyRow extends KeyRow, Omit<OrganizationRow, "organization_id"> {
  organization_id: string | null;
}

/** Of the keys that were made here. */
export function liveKeys(ask: AskNow): Pick<LiveState, "apiKey" | "serviceKey"> {
  return {
    async apiKey(lookupId) {
      const row = await ask<ApiKeyRow>("api key", API_KEY, [lookupId]);
      return row && apiKeyState(row);
    },

    async serviceKey(lookupId, organizationId) {
      const row = await ask<ServiceKeyRow>("service key", SERVICE_KEY, [
        lookupId,
        organizationId === "" ? null : organizationId,
      ]);
      return row && { ...keyState(row), organization: optionalOrganizationOf(row) };
    },
  };
}

export function apiKeyState(row: ApiKeyRow) {
  return apiKeyStanding(row, keyState(row));
}
