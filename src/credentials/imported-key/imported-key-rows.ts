import type { EntityManager } from "@mikro-orm/postgresql";
import type { Decision } from "../../authenticate/decision.ts";
import type { CheckedKey } from "./key-to-import.ts";

/** A key that was imported before. */
interface ImportedBefore {
  readonly id: string;
  readonly organizationId: string;
  readonly contentDigest: string;
}

/** The keys that were imported with these hashes, by fingerprint. */
export async function findImported(
  em: EntityManager,
  fingerprints: readonly string[],
): Promise<ReadonlyMap<string, ImportedBefore>> {
  const rows = await em.execute<(ImportedBefore & { fingerprint: string })[]>(
    `select encode(fingerprint, 'hex') as fingerprint, api_key_id as id, organization_id as "organizationId",
      encode(content_digest, 'hex') as "contentDigest"
    from imported_key_hashes
    where fingerprint in (select decode(hex, 'hex') from jsonb_array_elements_text(?) as hex)`,
    [JSON.stringify(fingerprints)],
  );
  return new Map(rows.map((row) => [row.fingerprint, row]));
}

/**
 * For each lookup prefix, how many hashes of keys that live begin alike: theirs begins with it, or it with
 * theirs. They are few: a look at each of their keys is cheaper than any join that could be planned.
 */
export async function countAlike(
  em: EntityManager,
  lookupPrefixes: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const rows = await em.execute<{ asked: string; count: number }[]>(
    `select asked, count(*)::int as count
    from (select distinct asked collate "C" as asked from jsonb_array_elements_text(?) as asked) distinctly
    join lateral (
      select api_key_id, expire_time from imported_key_hashes
      where lookup_prefix >= asked and lookup_prefix <= asked || chr(127)
      union all
      select api_key_id, expire_time from imported_key_hashes
      where lookup_prefix = any(array(select left(asked, n) from generate_series(8, length(asked) - 1) as n))
    ) h on (h.expire_time is null or h.expire_time > now())
      and (select k.revoke_time is null from api_keys k where k.id = h.api_key_id)
    group by asked`,
    [JSON.stringify(lookupPrefixes)],
  );
  return new Map(rows.map(({ asked, count }) => [asked, count]));
}

/** The rows of new keys, all in one statement. */
export async function insertKeys(
  em: EntityManager,
  common: {
    readonly organizationId: string;
    readonly owner: Decision["owner"];
    readonly creatorId: string;
    readonly formatId: string;
  },
  keys: readonly (CheckedKey & { readonly id: string })[],
): Promise<void> {
  const { organizationId, owner, creatorId, formatId } = common;
  const rows = keys.map(({ rateLimit, salted, ...key }) => ({
    ...key,
    requests: rateLimit?.requests,
    windowSeconds: rateLimit?.windowSeconds,
    saltedHash: salted?.hash,
    lookupPrefix: salted?.lookupPrefix,
  }));
  // A connection keeps its plans for foreign keys: one that was made for a table of a few rows reads all of it for
  // each of ten thousand.
  await em.execute("discard plans");
  await em.execute(
    `with rows as (
      select * from jsonb_to_recordset(?) as r (
        id uuid, name text, permissions text[], environment text, "allowedCidrs" text[],
        "expireTime" timestamptz, metadata jsonb, requests int, "windowSeconds" int,
        fingerprint text, "pepperId" uuid, "contentDigest" text, "saltedHash" text, "lookupPrefix" text)
    ), keys as (
      insert into api_keys (id, organization_id, name, permissions, environment, allowed_cidrs, expire_time,
        metadata, rate_limit_requests, rate_limit_window_seconds, imported, creator_id, maker_ids,
        owner_user_id, owner_service_key_id)
      select id, ?, name, permissions, environment, "allowedCidrs", "expireTime", metadata, requests,
        "windowSeconds", true, ?, '{}', ?, ?
      from rows
    )
    insert into imported_key_hashes (api_key_id, organization_id, format_id, fingerprint, pepper_id,
      content_digest, salted_hash, lookup_prefix)
    select id, ?, ?, decode(fingerprint, 'hex'), "pepperId", decode("contentDigest", 'hex'), "saltedHash",
      "lookupPrefix"
    from rows`,
    [
      JSON.stringify(rows),
      organizationId,
      creatorId,
      "userId" in owner ? owner.userId : null,
      "serviceKeyId" in owner ? owner.serviceKeyId : null,
      organizationId,
      formatId,
    ],
  );
}
