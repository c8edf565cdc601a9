import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { Decision } from "../../authenticate/decision.ts";
import { AuthError } from "../../errors.ts";
import { throwIfGivenUp } from "../../storage/cancellation.ts";
import type { KeyHasher } from "../key-digest.ts";
import { checkKeyGrant } from "../key-grant.ts";
import type { RateLimit } from "../rate-limit.ts";
import type { KeyFormat } from "./key-format.ts";
import { type KeyHashing, nameOfHash, readHash } from "./key-hash.ts";
import { checkLookupPrefix } from "./lookup-prefix.ts";
import { nameOfHmacSecret } from "./stored-format.ts";

/** One API key of another system, as it is to be here. */
export interface KeyToImport {
  readonly name: string;
  /** Names and patterns. */
  readonly permissions: readonly string[];
  readonly environment: string;
  readonly allowedCidrs: readonly string[];
  /** Undefined: never. */
  readonly expireTime: Date | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  /** Undefined: as often as one likes. */
  readonly rateLimit: RateLimit | undefined;
  /** A digest, or a salted hash as text in UTF-8. */
  readonly hash: Uint8Array;
  /** Of a salted hash. */
  readonly lookupPrefix: string;
}

/** A key that nothing is wrong with by itself. */
export interface CheckedKey extends Omit<KeyToImport, "hash" | "lookupPrefix"> {
  /** What its hash is known by, in hexadecimal digits: the same hash has the same. */
  readonly fingerprint: string;
  readonly pepperId: string;
  /** Of all that it is imported with, in hexadecimal digits. */
  readonly contentDigest: string;
  /** Undefined: the hash has no salt. */
  readonly salted: { readonly hash: string; readonly lookupPrefix: string } | undefined;
}

export interface KeysToImport {
  readonly owner: Decision["owner"];
  readonly format: KeyFormat;
  readonly hashing: KeyHashing;
  /** Or what is wrong with one. */
  readonly keys: Iterable<KeyToImport | AuthError>;
}

/** So many are looked at before other calls have their turn. */
const AT_ONCE = 250;

/** Checks each key by itself, and against those before it. @returns for each, what is wrong with it, if anything is. */
export async function checkKeys(
  keyHasher: KeyHasher,
  actor: Decision,
  { owner, format, hashing, keys }: KeysToImport,
): Promise<(CheckedKey | AuthError)[]> {
  const { algorithm, hmacSecret } = hashing;
  const secretName = hmacSecret && nameOfHmacSecret(keyHasher, hmacSecret);
  const common = [owner, format, algorithm, secretName];
  const seen = new Map<string, number>();

  function check(key: KeyToImport, at: number): CheckedKey {
    const permissions = checkKeyGrant(actor, { grantee: "api-key", owner }, key);
    const { hash, lookupPrefix, ...content } = { ...key, permissions };
    const read = readHash(algorithm, hash);
    const salted = typeof read === "string" ? { hash: read, lookupPrefix } : undefined;
    if (salted !== undefined) {
      checkLookupPrefix(format, lookupPrefix);
    }
    const { digest, pepperId } = keyHasher.hash(nameOfHash(algorithm, secretName, read));
    const fingerprint = digest.toString("hex");
    const first = seen.get(fingerprint);
    if (first !== undefined) {
      throw new AuthError("KEY_HASH_TAKEN", { message: `keys[${first}] of this call has the same hash.` });
    }
    seen.set(fingerprint, at);
    const contentDigest = digestOf([...common, salted?.lookupPrefix, sorted(content)]);
    return { ...content, fingerprint, pepperId, contentDigest, salted };
  }

  const checked: (CheckedKey | AuthError)[] = [];
  for (const key of keys) {
    if (checked.length % AT_ONCE === 0) {
      await setImmediate();
      throwIfGivenUp();
    }
    try {
      checked.push(key instanceof AuthError ? key : check(key, checked.length));
    } catch (error) {
      if (!(error instanceof AuthError)) {
        throw error;
      }
      checked.push(error);
    }
  }
  return checked;
}

/** The same content in the one order. */
function sorted({ allowedCidrs, metadata, ...content }: Omit<KeyToImport, "hash" | "lookupPrefix">) {
  return {
    ...content,
    allowedCidrs: allowedCidrs.toSorted(),
    metadata: Object.entries(metadata).sort(([one], [other]) => (one < other ? -1 : 1)),
  };
}

function digestOf(content: unknown): string {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}
