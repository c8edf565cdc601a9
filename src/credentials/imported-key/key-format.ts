import { AuthError } from "../../errors.ts";

/** What the characters of a foreign key's text are, after its prefix. */
export const ALPHABETS = {
  hex: /^[0-9a-f]*$/,
  base62: /^[0-9A-Za-z]*$/,
  base64url: /^[0-9A-Za-z_-]*$/,
  printable: /^[\x21-\x7e]*$/,
} as const satisfies Record<string, RegExp>;

export type KeyAlphabet = keyof typeof ALPHABETS;

/** How the texts of a foreign system's keys look. */
export interface KeyFormat {
  /** Of letters, digits, `_`, `.` and `-`; or empty. */
  readonly prefix: string;
  /** Of a whole text, in characters. */
  readonly length: number;
  readonly alphabet: KeyAlphabet;
}

/** Of a text that may be a foreign key, in characters. */
const SHORTEST = 16;
const LONGEST = 512;
/** What a JWT begins with: `{"` in base64. */
const JWT = "eyJ";
const SHOWN_AFTER_PREFIX = 4;

/** Tells the texts that may be keys of other systems from those that are Latchkey's own business. */
export interface ForeignTexts {
  /**
   * Whether a text may be looked up among the keys of other systems: it begins neither as one of ours nor as a
   * JWT.
   */
  mayBeForeign(text: string): boolean;
  /** @throws AuthError KEY_FORMAT_INVALID where a text of the format begins as one of ours, or there is none. */
  checkFormat(format: KeyFormat): void;
}

/** @param ownPrefixes of Latchkey's own keys, old ones too: `ak`, `sk`. */
export function createForeignTexts(ownPrefixes: Iterable<string>): ForeignTexts {
  const beginnings = [...ownPrefixes].map((prefix) => `${prefix}_`);

  return {
    mayBeForeign: (text) =>
      text.length >= SHORTEST &&
      text.length <= LONGEST &&
      ALPHABETS.printable.test(text) &&
      !beginnings.some((beginning) => text.startsWith(beginning)) &&
      !(text.startsWith(JWT) && text.includes(".")),
    checkFormat({ prefix, length, alphabet }) {
      // Without a prefix hardly any text begins as ours does, and that one is taken for ours.
      const mayBegin = (beginning: string) =>
        prefix.startsWith(beginning) ||
        (prefix !== "" &&
          beginning.startsWith(prefix) &&
          ALPHABETS[alphabet].test(beginning.slice(prefix.length)));
      if (length <= prefix.length || [...beginnings, JWT].some(mayBegin)) {
        throw new AuthError("KEY_FORMAT_INVALID");
      }
    },
  };
}

/** Whether a text looks as the format says. */
export function fits({ prefix, length, alphabet }: KeyFormat, text: string): boolean {
  return (
    text.length === length && text.startsWith(prefix) && ALPHABETS[alphabet].test(text.slice(prefix.length))
  );
}

/** What may be shown of a text: enough to recognize it by, and never more than a third. */
export function displayPrefixOf({ prefix, length }: KeyFormat, text: string): string {
  return text.slice(0, Math.min(prefix.length + SHOWN_AFTER_PREFIX, Math.floor(length / 3)));
}
