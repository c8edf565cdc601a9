import {
  API_KEY_OWNER,
  API_KEY_RIGHTS,
  type ApiKeyRightsRow,
  apiKeyStanding,
  KEY,
  type KeyRow,
  keyState,
  momentColumns,
  ORGANIZATION,
  type OrganizationRow,
  optionalOrganizationOf,
} from "./live-rows.ts";
import type { AskNow, CatalogueOf, LiveState } from "./live-state.ts";

/** @param secrets one row for each secret of a key. @param catalogue the position of the parameter. @param more columns. */
export const apiKeyFrom = (secrets: string, catalogue: number, more = "") => `
  select ${KEY}${more}, ${API_KEY_RIGHTS}, ${ORGANIZATION}, ${momentColumns(catalogue)}
  from ${secrets} s
  join api_keys k on k.id = s.api_key_id and k.organization_id = s.organization_id
  join peppers p on p.id = s.pepper_id
  join organizations o on o.id = k.organization_id
  ${API_KEY_OWNER}`;

const API_KEY = `${apiKeyFrom("api_key_slots", 2)} where s.lookup_id = $1`;

const SERVICE_KEY = `
  select ${KEY}, ${ORGANIZATION}, ${momentColumns(3)}
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
      const { row, catalogueOf } = await ask<ApiKeyRow>("api key", API_KEY, [lookupId]);
      return row && apiKeyState(row, catalogueOf);
    },

    async serviceKey(lookupId, organizationId) {
      const { row, catalogueOf } = await ask<ServiceKeyRow>("service key", SERVICE_KEY, [
        lookupId,
        organizationId === "" ? null : organizationId,
      ]);
      return row && { ...keyState(row, catalogueOf), organization: optionalOrganizationOf(row) };
    },
  };
}

export function apiKeyState(row: ApiKeyRow, catalogueOf: CatalogueOf) {
  return apiKeyStanding(row, keyState(row, catalogueOf));
}
