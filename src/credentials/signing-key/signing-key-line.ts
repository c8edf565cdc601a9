import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { LOCKS } from "../../storage/locks.ts";
import type { NewSigningKey } from "./new-signing-key.ts";

/**
 * How long a key is published before it signs: the five minutes that caches keep the published keys, the ten that
 * verifiers such as jose do, and some more.
 */
export const PUBLISHED_AHEAD = "20 minutes";
/**
 * How long a key is published after it has signed last: the 24 hours that a token lives, the leeway of clocks, and
 * more than a transaction takes that had begun to sign.
 */
const PUBLISHED_AFTER = "25 hours";

/** Of a row of signing_keys: whether it signs, or will. Its time is now, not that of the transaction. */
export const IN_LINE = "revoke_time is null and (retire_time is null or retire_time > clock_timestamp())";

/** The signing keys that have not retired, as they are while the lock is held. */
export interface SigningKeyLine {
  readonly active: string | undefined;
  readonly next: string | undefined;
}

/**
 * Has the signing keys to itself until the unit of work is done: nobody signs meanwhile, and nobody who has begun
 * to has not finished. To be called after every other lock.
 */
export async function lockSigningKeys(em: EntityManager): Promise<void> {
  await em.execute("select pg_advisory_xact_lock(?)", [LOCKS.signingKey]);
}

/** Holds the signing keys as they are until the unit of work is done. To be called after every other lock. */
export async function holdSigningKeys(em: EntityManager): Promise<void> {
  await em.execute("select pg_advisory_xact_lock_shared(?)", [LOCKS.signingKey]);
}

export async function readLine(em: EntityManager): Promise<SigningKeyLine> {
  const rows = await em.execute<{ kid: string; is_active: boolean }[]>(
    `select kid, activate_time <= clock_timestamp() as is_active from signing_keys
    where ${IN_LINE} order by activate_time desc`,
  );
  return {
    active: rows.find((row) => row.is_active)?.kid,
    next: rows.find((row) => !row.is_active)?.kid,
  };
}

/**
 * Puts a key into line behind the others, which retire when it begins: what follows then is a matter of time, and
 * nobody has to come by.
 *
 * @param ahead for how long it is published before it signs: nothing where there is none that signs.
 */
export async function putInLine(
  em: EntityManager,
  key: NewSigningKey,
  ahead: typeof PUBLISHED_AHEAD | "0",
): Promise<void> {
  await em.execute(
    `insert into signing_keys
      (kid, list_id, algorithm, public_jwk, sealed_private_key, create_time, publish_time, activate_time)
    select ?, ?::uuid, ?, ?::jsonb, ?::bytea, now, now, now + interval '${ahead}' from (select clock_timestamp() as now) as moment`,
    [key.kid, uuidv7(), key.algorithm, JSON.stringify(key.publicJwk), key.sealedPrivateKey],
  );
  await em.execute(
    `update signing_keys k
    set retire_time = n.activate_time, remove_time = n.activate_time + interval '${PUBLISHED_AFTER}'
    from signing_keys n where n.kid = ? and k.kid <> n.kid and k.retire_time is null and k.revoke_time is null`,
    [key.kid],
  );
}

/** What becomes of the line where a key is taken out of it. */
export async function closeLine(
  em: EntityManager,
  before: SigningKeyLine,
  spare: NewSigningKey,
): Promise<{ readonly activated?: string; readonly created?: string }> {
  const { active, next } = await readLine(em);
  if (active !== undefined) {
    if (before.next !== undefined && next === undefined) {
      // It goes on signing, since nobody comes after it any more.
      await em.execute("update signing_keys set retire_time = null, remove_time = null where kid = ?", [
        active,
      ]);
    }
    return {};
  }
  if (next !== undefined) {
    await em.execute(
      `update signing_keys set activate_time = clock_timestamp(),
        publish_time = least(publish_time, clock_timestamp()) where kid = ?`,
      [next],
    );
    return { activated: next };
  }
  await putInLine(em, spare, "0");
  return { created: spare.kid };
}
