import { AuthError } from "../../errors.ts";
import { ALPHABETS, type KeyFormat } from "./key-format.ts";

/** Of the start of a text by which a salted hash is found, in characters. */
const SHORTEST = 8;
const LONGEST = 32;
/** How many salted hashes may have to be tried for one text. */
export const MOST_ALIKE = 3;

/**
 * Checks the start of a key's text that is kept in clear. It goes beyond the format's prefix, which all keys
 * have, and leaves at least half of what comes after that unsaid.
 *
 * @throws AuthError KEY_LOOKUP_PREFIX_INVALID
 */
export function checkLookupPrefix({ prefix, length, alphabet }: KeyFormat, lookupPrefix: string): void {
  const longest = Math.min(LONGEST, prefix.length + Math.floor((length - prefix.length) / 2));
  const shortest = Math.max(SHORTEST, prefix.length + 1);
  const fits =
    lookupPrefix.length >= shortest &&
    lookupPrefix.length <= longest &&
    lookupPrefix.startsWith(prefix) &&
    ALPHABETS[alphabet].test(lookupPrefix.slice(prefix.length));
  if (!fits) {
    throw new AuthError("KEY_LOOKUP_PREFIX_INVALID", {
      message:
        shortest > longest
          ? "Keys of this format are too short to have salted hashes: no lookup_prefix says enough and leaves half unsaid."
          : `A salted hash needs lookup_prefix: the first ${shortest} to ${longest} characters of the key, as its format has them.`,
    });
  }
}

/** Every lookup prefix that a key with this text, or another whose lookup prefix it is, may have. */
export function lookupPrefixesOf(text: string): string[] {
  const longest = Math.min(LONGEST, text.length);
  return Array.from({ length: Math.max(0, longest - SHORTEST + 1) }, (_, more) =>
    text.slice(0, SHORTEST + more),
  );
}

/**
 * Keeps count of the lookup prefixes that begin alike, so that no text ever has more than three hashes that
 * would have to be tried: one that is a part of another counts with it.
 */
export class CrowdCount {
  readonly #own = new Map<string, number>();
  readonly #beginning = new Map<string, number>();
  readonly #stored: ReadonlyMap<string, number>;

  /** @param stored for each lookup prefix, how many in the database it begins like. */
  constructor(stored: ReadonlyMap<string, number>) {
    this.#stored = stored;
  }

  /** @throws AuthError KEY_LOOKUP_PREFIX_CROWDED where there is no place for another. */
  add(lookupPrefix: string): void {
    const shorter = lookupPrefixesOf(lookupPrefix).slice(0, -1);
    const alike =
      (this.#stored.get(lookupPrefix) ?? 0) +
      (this.#beginning.get(lookupPrefix) ?? 0) +
      shorter.reduce((sum, each) => sum + (this.#own.get(each) ?? 0), 0);
    if (alike >= MOST_ALIKE) {
      throw new AuthError("KEY_LOOKUP_PREFIX_CROWDED");
    }
    this.#own.set(lookupPrefix, (this.#own.get(lookupPrefix) ?? 0) + 1);
    for (const each of [...shorter, lookupPrefix]) {
      this.#beginning.set(each, (this.#beginning.get(each) ?? 0) + 1);
    }
  }
}
