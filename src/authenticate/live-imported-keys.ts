import type { Storage } from "../storage/open-storage.ts";
import { type ApiKeyRow, apiKeyFrom, apiKeyState } from "./live-keys.ts";
import type { AskNow, KeyFormatState, LiveState, SaltedHashState } from "./live-state.ts";
import type { Remembered } from "./remembered.ts";

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

/** Of keys that were taken over from other systems. */
export function liveImportedKeys(
  storage: Storage,
  ask: AskNow,
  formats: Remembered<readonly KeyFormatState[]>,
): Pick<LiveState, "keyFormats" | "importedKey" | "saltedHashes"> {
  return {
    async keyFormats() {
      const known = formats.recall();
      if (known !== undefined) {
        return known;
      }
      const asked = formats.ask();
      const row = await storage.verify<KeyFormatsRow>("key formats", KEY_FORMATS, []);
      const found = (row?.formats ?? []).map(({ sealedHmacSecret, ...format }) => ({
        ...format,
        sealedHmacSecret: sealedHmacSecret === null ? undefined : Buffer.from(sealedHmacSecret, "base64"),
      }));
      formats.keep(found, asked);
      return found;
    },

    async importedKey(lookupId, fingerprints, formatIds) {
      const values = [lookupId, fingerprints, formatIds];
      const row = await ask<ImportedKeyRow>("imported key", IMPORTED_KEY, values);
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
  };
}
