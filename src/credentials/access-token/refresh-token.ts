import { hkdfSync } from "node:crypto";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Storage } from "../../storage/open-storage.ts";
import { createSeal } from "../../storage/seal.ts";
import type { KeyHasher } from "../key-digest.ts";
import { type MintedKey, mintKey, parseKey } from "../secret-key.ts";

export const REFRESH_TOKEN_PREFIX = "rt";

const PREFIXES = new Set([REFRESH_TOKEN_PREFIX]);

/** A refresh token that was handed out, whatever has become of it. */
export interface KnownRefreshToken {
  readonly lookupId: string;
  readonly sessionId: string;
  readonly userId: string;
  /** Its session's tokens travel in a cookie. */
  readonly browser: boolean;
}

interface KnownRow {
  lookup_id: string;
  session_id: string;
  user_id: string;
  browser: boolean;
  digest: Buffer;
  pepper_id: string;
  sealed_pepper: Buffer;
}

export function looksLikeRefreshToken(text: string): boolean {
  return text.startsWith(`${REFRESH_TOKEN_PREFIX}_`);
}

/** What can be no refresh token of ours is told without asking the database. */
export async function findRefreshToken(
  { storage, keyHasher }: { readonly storage: Storage; readonly keyHasher: KeyHasher },
  text: string,
): Promise<KnownRefreshToken | undefined> {
  const lookupId = parseKey(text, PREFIXES);
  if (lookupId === undefined) {
    return undefined;
  }
  const [row] = await storage.fork().execute<KnownRow[]>(
    `select t.lookup_id, t.session_id, s.user_id, s.browser, t.digest, t.pepper_id, p.sealed_secret as sealed_pepper
    from refresh_tokens t
    join sessions s on s.id = t.session_id
    join peppers p on p.id = t.pepper_id
    where t.lookup_id = ?`,
    [lookupId],
  );
  const stored = row && { digest: row.digest, pepperId: row.pepper_id, sealedPepper: row.sealed_pepper };
  // Whoever does not hold the secret learns nothing, and holds nobody up: nothing is locked before.
  if (!keyHasher.matches(text, stored) || row === undefined) {
    return undefined;
  }
  return { lookupId, sessionId: row.session_id, userId: row.user_id, browser: row.browser };
}

/** Makes the refresh token with which a session goes on, within a unit of work. */
export async function insertRefreshToken(
  em: EntityManager,
  keyHasher: KeyHasher,
  session: { readonly id: string; readonly organizationId: string },
  minted: MintedKey = mintKey(REFRESH_TOKEN_PREFIX),
): Promise<string> {
  const { digest, pepperId } = keyHasher.hash(minted.text);
  await em.execute(
    `insert into refresh_tokens (lookup_id, organization_id, session_id, digest, pepper_id)
    values (?, ?, ?, ?, ?)`,
    [minted.lookupId, session.organizationId, session.id, digest, pepperId],
  );
  return minted.text;
}

/**
 * The next refresh token, for whoever presents the one before it once more. Nobody else can open it: what it is
 * sealed under is in no database.
 */
export function sealSuccessor(text: string, successor: string): Buffer {
  return successorSeal(text).close(Buffer.from(successor), SUCCESSOR);
}

export function openSuccessor(text: string, sealed: Uint8Array): string {
  return successorSeal(text).open(sealed, SUCCESSOR).toString();
}

const SUCCESSOR = "refresh_tokens/successor";

/** A refresh token has 256 random bits: HKDF needs no more (RFC 5869). */
function successorSeal(text: string) {
  return createSeal(new Uint8Array(hkdfSync("sha256", text, "", "latchkey refresh token", 32)));
}
