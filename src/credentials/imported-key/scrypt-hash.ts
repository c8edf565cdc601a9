import { scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { readPhcBase64 } from "./phc-base64.ts";

/** In kibibytes. */
const MOST_MEMORY = 64 * 1024;
/** Of 128-byte blocks that are mixed: what OWASP recommends is at most as much. */
const MOST_WORK = 2 ** 20;
const FORM =
  /^\$scrypt\$ln=([1-9]\d?),r=([1-9]\d{0,2}),p=([1-9]\d?)\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/;

interface ScryptHash {
  readonly cost: number;
  readonly blockSize: number;
  readonly parallelization: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/**
 * Whether it is a hash of scrypt (RFC 7914) that takes no more to check than is allowed.
 *
 * @param mostMemory in kibibytes.
 */
export function isScryptHash(text: string, mostMemory = MOST_MEMORY): boolean {
  return parse(text, mostMemory) !== undefined;
}

/** Whether it is the hash of this text, on a thread of its own. */
export async function matchesScrypt(
  text: string,
  encoded: string,
  mostMemory = MOST_MEMORY,
): Promise<boolean> {
  const parsed = parse(encoded, mostMemory);
  if (parsed === undefined) {
    throw new Error("not a hash of scrypt");
  }
  const { hash, salt, ...parameters } = parsed;
  // What OpenSSL counts is a little more than the memory that is mixed.
  const options = { ...parameters, maxmem: 2 * mostMemory * 1024 };
  const derived = await derive(text, salt, hash.length, options);
  return timingSafeEqual(derived, hash);
}

const derive = promisify<string, Buffer, number, object, Buffer>(scrypt);

function parse(text: string, mostMemory: number): ScryptHash | undefined {
  const [, ln = "", r = "", p = "", saltText = "", hashText = ""] = FORM.exec(text) ?? [];
  const salt = readPhcBase64(saltText);
  const hash = readPhcBase64(hashText);
  const [cost, blockSize, parallelization] = [2 ** Number(ln), Number(r), Number(p)];
  const isAffordable =
    128 * cost * blockSize <= mostMemory * 1024 && cost * blockSize * parallelization <= MOST_WORK;
  // RFC 7914 section 2: the cost is less than 2^(128 * r / 8).
  const isAllowed = Number(ln) < 16 * blockSize;
  return ln !== "" && salt !== undefined && hash !== undefined && isAffordable && isAllowed
    ? { cost, blockSize, parallelization, salt, hash }
    : undefined;
}
