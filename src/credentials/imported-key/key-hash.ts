import { createHash, createHmac } from "node:crypto";
import { AuthError } from "../../errors.ts";
import { isArgon2Hash } from "./argon2-hash.ts";
import { isBcryptHash, MOST_BCRYPT_BYTES } from "./bcrypt-hash.ts";
import type { KeyFormat } from "./key-format.ts";
import { isScryptHash } from "./scrypt-hash.ts";

/** The functions without a salt: the text alone leads to the digest, and an index to the key. */
const PLAIN = {
  sha256: { length: 32, hash: "sha256", keyed: false },
  sha512: { length: 64, hash: "sha512", keyed: false },
  "hmac-sha256": { length: 32, hash: "sha256", keyed: true },
  "hmac-sha512": { length: 64, hash: "sha512", keyed: true },
} as const;

/** The salted ones, each with what says whether a hash is well-formed and cheap enough to check. */
const SALTED = {
  bcrypt: isBcryptHash,
  scrypt: isScryptHash,
  argon2: isArgon2Hash,
} as const satisfies Record<string, (hash: string) => boolean>;

export type PlainAlgorithm = keyof typeof PLAIN;
export type SaltedAlgorithm = keyof typeof SALTED;
export type KeyHashAlgorithm = PlainAlgorithm | SaltedAlgorithm;

/** How a foreign system hashed its keys: always the whole text. */
export interface KeyHashing {
  readonly algorithm: KeyHashAlgorithm;
  /** Of an HMAC; else undefined. */
  readonly hmacSecret: Uint8Array | undefined;
}

export function isPlain(algorithm: KeyHashAlgorithm): algorithm is PlainAlgorithm {
  return algorithm in PLAIN;
}

/** The digest of a text. */
export function plainDigest(algorithm: PlainAlgorithm, secret: Uint8Array | undefined, text: string): Buffer {
  const { hash, keyed } = PLAIN[algorithm];
  if (!keyed) {
    return createHash(hash).update(text).digest();
  }
  if (secret === undefined) {
    throw new Error("an HMAC has a secret");
  }
  return createHmac(hash, secret).update(text).digest();
}

/**
 * What stands for a foreign hash where it is hashed again, under the pepper. No two hashes have the same, and no
 * text of a key does: those have no NUL.
 *
 * @param secretName what the secret of an HMAC is known by; else undefined.
 */
export function nameOfHash(
  algorithm: KeyHashAlgorithm,
  secretName: string | undefined,
  hash: Uint8Array | string,
): string {
  const text = typeof hash === "string" ? hash : Buffer.from(hash).toString("hex");
  return ["imported key hash", algorithm, secretName ?? "", text].join("\0");
}

/**
 * Checks that keys of the format can be checked against hashes of the algorithm.
 *
 * @throws AuthError KEY_FORMAT_INVALID
 */
export function checkHashable({ length }: KeyFormat, algorithm: KeyHashAlgorithm): void {
  if (algorithm === "bcrypt" && length > MOST_BCRYPT_BYTES) {
    throw new AuthError("KEY_FORMAT_INVALID", {
      message: `bcrypt looks at the first ${MOST_BCRYPT_BYTES} characters only: longer keys cannot be told apart by it.`,
    });
  }
}

/**
 * Checks one hash to import.
 *
 * @returns a digest as it is, a salted hash as its text.
 * @throws AuthError KEY_HASH_INVALID
 */
export function readHash(algorithm: KeyHashAlgorithm, bytes: Uint8Array): Uint8Array | string {
  if (isPlain(algorithm)) {
    if (bytes.length !== PLAIN[algorithm].length) {
      throw new AuthError("KEY_HASH_INVALID", {
        message: `A digest of ${algorithm} has ${PLAIN[algorithm].length} bytes, not ${bytes.length}.`,
      });
    }
    return bytes;
  }
  const text = Buffer.from(bytes).toString("latin1");
  if (!SALTED[algorithm](text)) {
    throw new AuthError("KEY_HASH_INVALID");
  }
  return text;
}
