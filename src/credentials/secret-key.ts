import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
export const LOOKUP_LENGTH = 12;
/** 62^43 > 2^256. */
const SECRET_LENGTH = 43;
/** 62^6 > 2^32. */
const CHECKSUM_LENGTH = 6;

const LABEL = /^[a-z][a-z0-9]{0,11}$/;
const LOOKUP = /^[0-9A-Za-z]{12}$/;
const TAIL = /^[0-9A-Za-z]{49}$/;
const LONGEST = 16 + 1 + 12 + 1 + LOOKUP_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH;

/** A key as it is handed out: `ak_<lookup id>_<secret><checksum>`, or `ak_test_…` with a label. */
export interface MintedKey {
  /** The whole text: the secret. */
  readonly text: string;
  /** The public part by which it is found. */
  readonly lookupId: string;
  /** The text up to and with the lookup id: safe to show. */
  readonly displayPrefix: string;
}

/** Makes a key of 256 random bits. */
export function mintKey(prefix: string, label = ""): MintedKey {
  const lookupId = randomText(LOOKUP_LENGTH);
  const displayPrefix = [prefix, ...(label === "" ? [] : [label]), lookupId].join("_");
  const body = `${displayPrefix}_${randomText(SECRET_LENGTH)}`;
  return { text: body + checksum(body), lookupId, displayPrefix };
}

/**
 * Reads the lookup id of a presented key, from the right: `…_<lookup id>_<secret><checksum>`.
 *
 * @param prefixes the prefixes that are accepted.
 * @returns undefined where the text cannot be a key of ours. No I/O is needed to say so: a checksum that
 * does not fit tells cut, extended, misspelt and made-up keys from real ones. It keeps out accidents, not
 * attackers; the digest under the pepper decides.
 */
export function parseKey(text: string, prefixes: ReadonlySet<string>): string | undefined {
  if (text.length > LONGEST) {
    return undefined;
  }
  const parts = text.split("_");
  const tail = parts.pop();
  const lookupId = parts.pop();
  const [prefix, label, ...rest] = parts;
  const wellFormed =
    tail !== undefined &&
    TAIL.test(tail) &&
    lookupId !== undefined &&
    LOOKUP.test(lookupId) &&
    prefix !== undefined &&
    prefixes.has(prefix) &&
    (label === undefined || LABEL.test(label)) &&
    rest.length === 0;
  if (!wellFormed) {
    return undefined;
  }
  const body = text.slice(0, -CHECKSUM_LENGTH);
  return checksum(body) === text.slice(-CHECKSUM_LENGTH) ? lookupId : undefined;
}

/** Whether it is the lookup id of a key that was made here: one of a key taken over is of another length. */
export function isMintedLookupId(lookupId: string): boolean {
  return lookupId.length === LOOKUP_LENGTH;
}

/** CRC-32 of the text, as six digits to the base 62. */
function checksum(text: string): string {
  let rest = crc32(text);
  let digits = "";
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    digits = ALPHABET.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** Uniformly random: bytes beyond the last multiple of 62 are thrown away. */
function randomText(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < 248 && text.length < length) {
        text += ALPHABET.charAt(byte % 62);
      }
    }
  }
  return text;
}
