import { crc32 } from "node:zlib";

export const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** The parts of `ak_<12 id>_<43 secret><6 checksum>`, as docs/credentials.md draws them. */
export interface KeyParts {
  readonly prefix: string;
  readonly lookupId: string;
  readonly secret: string;
}

export function partsOf(text: string): KeyParts {
  const [prefix = "", lookupId = "", tail = ""] = text.split("_");
  return { prefix, lookupId, secret: tail.slice(0, -6) };
}

/** A key whose checksum fits, whatever it says. */
export function keyText({ prefix, lookupId, secret }: KeyParts): string {
  const body = `${prefix}_${lookupId}_${secret}`;
  return body + checksum(body);
}

/** The CRC-32 in six digits to the base 62. */
function checksum(body: string): string {
  let left = crc32(body);
  const digits: string[] = [];
  for (let place = 0; place < 6; place++) {
    digits.unshift(BASE62.charAt(left % 62));
    left = Math.floor(left / 62);
  }
  return digits.join("");
}

/** Another letter in place of one. */
export function replaceAt(text: string, at: number, letter: string): string {
  return text.slice(0, at) + letter + text.slice(at + 1);
}

/** The letter after it in the alphabet, and after the last the first. */
export function nextLetter(letter: string | undefined): string {
  return BASE62.charAt((BASE62.indexOf(letter ?? "") + 1) % 62);
}

/** The same letter in the other case; what has no case stays. */
export function otherCase(letter: string): string {
  return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
}
