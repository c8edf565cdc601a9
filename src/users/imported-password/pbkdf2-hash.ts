import { pbkdf2, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { readPhcBase64 } from "../../credentials/imported-key/phc-base64.ts";

const DIGEST_BYTES = { sha1: 20, sha256: 32, sha512: 64 } as const;
type Digest = keyof typeof DIGEST_BYTES;

/** Iterations, times the blocks of the digest that the hash is made of. */
const MOST_WORK = 2_000_000;
const LEAST_BYTES = 16;
const FORM =
  /^\$pbkdf2(?:-(sha1|sha256|sha512))?\$(?:i=)?([1-9]\d{0,6})(?:,l=([1-9]\d?))?\$([A-Za-z0-9+/.]{6,172})\$([A-Za-z0-9+/.]{22,86})$/;

const derive = promisify(pbkdf2);

interface Pbkdf2Hash {
  readonly digest: Digest;
  readonly iterations: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** Whether it is a hash of PBKDF2 (RFC 8018) that takes no longer to check than is allowed. */
export function isPbkdf2Hash(text: string): boolean {
  return parse(text) !== undefined;
}

/** Whether it is the hash of this text, on a thread of its own. */
export async function matchesPbkdf2(text: string, encoded: string): Promise<boolean> {
  const parsed = parse(encoded);
  if (parsed === undefined) {
    throw new Error("not a hash of PBKDF2");
  }
  const { digest, iterations, salt, hash } = parsed;
  return timingSafeEqual(await derive(text, salt, iterations, hash.length, digest), hash);
}

function parse(text: string): Pbkdf2Hash | undefined {
  const [, name = "sha1", count = "", length, saltText = "", hashText = ""] = FORM.exec(text) ?? [];
  const digest = name as Digest;
  const iterations = Number(count);
  const salt = readBase64(saltText);
  const hash = readBase64(hashText);
  if (count === "" || salt === undefined || hash === undefined || hash.length < LEAST_BYTES) {
    return undefined;
  }
  const isAffordable = iterations * Math.ceil(hash.length / DIGEST_BYTES[digest]) <= MOST_WORK;
  const isWhole = length === undefined || Number(length) === hash.length;
  return isAffordable && isWhole ? { digest, iterations, salt, hash } : undefined;
}

/** Passlib writes `.` for `+`. */
function readBase64(text: string): Buffer | undefined {
  return readPhcBase64(text.replaceAll(".", "+"));
}
