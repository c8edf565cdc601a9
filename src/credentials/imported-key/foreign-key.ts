import type { KeyFormatState } from "../../authenticate/live-state.ts";
import type { Seal } from "../../storage/seal.ts";
import type { KeyHasher } from "../key-digest.ts";
import { displayPrefixOf, fits } from "./key-format.ts";
import { isPlain, nameOfHash, plainDigest } from "./key-hash.ts";
import { nameOfHmacSecret, placeOfHmacSecret } from "./stored-format.ts";

/** A text that looks like a key of another system, and all that can be said of it without asking. */
export interface ForeignKey {
  readonly text: string;
  /** What its slot is found by, once it has one. */
  readonly lookupId: string;
  /** What may be shown of it. */
  readonly displayPrefix: string;
  /** The formats that it fits. */
  readonly formatIds: readonly string[];
  /** Those of them whose hashes have a salt. */
  readonly saltedFormatIds: readonly string[];
  /** The names of the hashes that it would have in the others. */
  readonly hashNames: readonly string[];
}

/** @returns undefined where the text fits none of the formats. */
export type ReadForeignKey = (text: string, formats: readonly KeyFormatState[]) => ForeignKey | undefined;

interface HmacSecret {
  readonly secret: Buffer;
  readonly name: string;
}

export function createReadForeignKey(parts: {
  readonly keyHasher: KeyHasher;
  readonly seal: Seal;
}): ReadForeignKey {
  const { keyHasher, seal } = parts;
  // The row of a format never changes, so each secret is opened once.
  const secrets = new Map<string, HmacSecret>();

  function secretOf({ id, sealedHmacSecret }: KeyFormatState): HmacSecret | undefined {
    const known = secrets.get(id);
    if (known !== undefined || sealedHmacSecret === undefined) {
      return known;
    }
    const secret = seal.open(sealedHmacSecret, placeOfHmacSecret(id));
    const opened = { secret, name: nameOfHmacSecret(keyHasher, secret) };
    secrets.set(id, opened);
    return opened;
  }

  function hashNamesOf(format: KeyFormatState, text: string): string[] {
    const { algorithm } = format;
    if (!isPlain(algorithm)) {
      return [];
    }
    const { secret, name } = secretOf(format) ?? {};
    return [nameOfHash(algorithm, name, plainDigest(algorithm, secret, text))];
  }

  return (text, formats) => {
    const fitting = formats.filter((format) => fits(format, text));
    if (fitting.length === 0) {
      return undefined;
    }
    return {
      text,
      lookupId: lookupIdOf(keyHasher, text),
      displayPrefix: fitting
        .map((format) => displayPrefixOf(format, text))
        .reduce((one, other) => (one.length <= other.length ? one : other)),
      formatIds: fitting.map(({ id }) => id),
      saltedFormatIds: fitting.filter(({ algorithm }) => !isPlain(algorithm)).map(({ id }) => id),
      hashNames: fitting.flatMap((format) => hashNamesOf(format, text)),
    };
  };
}

/**
 * What the slot of a foreign key is found by, from its text alone: a text has no NUL, so that this is no digest of
 * one. It is under the pepper that new digests are made with; a deployment has one.
 */
function lookupIdOf(keyHasher: KeyHasher, text: string): string {
  return keyHasher.hash(`imported key lookup\0${text}`).digest.subarray(0, 18).toString("base64url");
}
