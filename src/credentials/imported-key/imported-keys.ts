import type { Logger } from "pino";
import type {
  ApiKeyState,
  ImportedKeyState,
  KeyFormatState,
  LiveState,
  SaltedHashState,
} from "../../authenticate/live-state.ts";
import type { Trace } from "../../authenticate/trace.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Seal } from "../../storage/seal.ts";
import type { KeyHasher } from "../key-digest.ts";
import { displayPrefixOf, type ForeignTexts, fits } from "./key-format.ts";
import { isPlain, nameOfHash, plainDigest } from "./key-hash.ts";
import { lookupPrefixesOf } from "./lookup-prefix.ts";
import { rehashImportedKey } from "./rehash-imported-key.ts";
import { createRehashQueue } from "./rehash-queue.ts";
import { createSaltedCheck } from "./salted-check.ts";
import { nameOfHmacSecret, placeOfHmacSecret } from "./stored-format.ts";

/** The API keys that were taken over from other systems, by their texts. */
export interface ImportedKeys {
  /**
   * What is true now of the imported key whose secret this text is: that it is is proved, and nothing else.
   *
   * - no declared format has such texts, or it begins as one of ours or as a JWT: undefined
   * - one has, and this text is no key's: rejects with API_KEY_INVALID
   *
   * @throws AuthError API_KEY_INVALID, KEY_CHECK_BUSY
   */
  find(text: string, trace?: Trace): Promise<ApiKeyState | undefined>;
  /** Resolves when what the last uses have left to do is done. */
  close(): Promise<void>;
}

export interface ImportedKeyParts {
  readonly storage: Storage;
  readonly liveState: LiveState;
  readonly keyHasher: KeyHasher;
  readonly seal: Seal;
  readonly foreignTexts: ForeignTexts;
  readonly log: Pick<Logger, "warn">;
}

interface HmacSecret {
  readonly secret: Buffer;
  readonly name: string;
}

/** A text that looks like a foreign key, and all that can be said of it without asking. */
interface ForeignKey {
  readonly text: string;
  /** What its slot is found by, once it has one. */
  readonly lookupId: string;
  readonly displayPrefix: string;
  readonly formatIds: readonly string[];
  /** The names of the hashes that it would have without a salt. */
  readonly hashNames: readonly string[];
  readonly saltedFormatIds: readonly string[];
}

export function createImportedKeys(parts: ImportedKeyParts): ImportedKeys {
  const { storage, liveState, keyHasher, log } = parts;
  const saltedCheck = createSaltedCheck();
  const rehashQueue = createRehashQueue(
    (rehash) => rehashImportedKey(storage, rehash),
    (error) => log.warn({ err: error }, "an imported key keeps its foreign hash until its next use"),
  );
  const secrets = new Map<string, HmacSecret>();
  const secretOf = ({ id, sealedHmacSecret }: KeyFormatState): HmacSecret | undefined => {
    const known = secrets.get(id);
    if (known !== undefined || sealedHmacSecret === undefined) {
      return known;
    }
    const secret = parts.seal.open(sealedHmacSecret, placeOfHmacSecret(id));
    const opened = { secret, name: nameOfHmacSecret(keyHasher, secret) };
    secrets.set(id, opened);
    return opened;
  };
  const hashNameOf = (format: KeyFormatState, text: string): string[] => {
    const { algorithm } = format;
    if (!isPlain(algorithm)) {
      return [];
    }
    const { secret, name } = secretOf(format) ?? {};
    return [nameOfHash(algorithm, name, plainDigest(algorithm, secret, text))];
  };

  function read(text: string, formats: readonly KeyFormatState[]): ForeignKey | undefined {
    const fitting = formats.filter((format) => fits(format, text));
    const [first] = fitting;
    if (first === undefined) {
      return undefined;
    }
    return {
      text,
      lookupId: lookupIdOf(keyHasher, text),
      displayPrefix: fitting
        .map((format) => displayPrefixOf(format, text))
        .reduce((one, other) => (one.length <= other.length ? one : other)),
      formatIds: fitting.map(({ id }) => id),
      hashNames: fitting.flatMap((format) => hashNameOf(format, text)),
      saltedFormatIds: fitting.filter(({ algorithm }) => !isPlain(algorithm)).map(({ id }) => id),
    };
  }

  /** By its slot, or by one of these hashes. */
  async function prove(
    { text, lookupId, formatIds }: ForeignKey,
    hashNames: readonly string[],
  ): Promise<ImportedKeyState | undefined> {
    const fingerprints = hashNames.map((name) => keyHasher.hash(name).digest);
    const state = await liveState.importedKey(lookupId, fingerprints, formatIds);
    const stored = state?.secret.stored;
    // Each is compared, and as much where there is nothing to compare with.
    const candidates = state?.isPending ? hashNames : [text];
    const matching = candidates.filter((candidate) => keyHasher.matches(candidate, stored));
    return matching.length > 0 ? state : undefined;
  }

  async function findSalted(foreign: ForeignKey): Promise<ImportedKeyState | undefined> {
    const { text, lookupId, saltedFormatIds } = foreign;
    const { candidates, hasSlot } = await liveState.saltedHashes(
      lookupId,
      lookupPrefixesOf(text),
      saltedFormatIds,
    );
    if (hasSlot) {
      return await prove(foreign, []);
    }
    const found = await saltedCheck.find(text, lookupId, candidates.map(named));
    return found && (await prove(foreign, [nameOfHash(found.algorithm, undefined, found.hash)]));
  }

  return {
    async find(text, trace) {
      if (!parts.foreignTexts.mayBeForeign(text)) {
        return undefined;
      }
      const foreign = read(text, await liveState.keyFormats());
      if (foreign === undefined) {
        return undefined;
      }
      trace?.check("form", "an API key of another system, by its prefix, length and alphabet");
      trace?.check("secret", "the imported key that it belongs to");
      const { lookupId, displayPrefix, saltedFormatIds } = foreign;
      const state =
        (await prove(foreign, foreign.hashNames)) ??
        (saltedFormatIds.length > 0 ? await findSalted(foreign) : undefined);
      if (state === undefined) {
        throw new AuthError("API_KEY_INVALID");
      }
      if (!state.isPending) {
        return state;
      }
      rehashQueue.add({ apiKeyId: state.id, lookupId, displayPrefix, ...keyHasher.hash(text) });
      return { ...state, secret: { ...state.secret, displayPrefix } };
    },
    async close() {
      await rehashQueue.drain();
      await saltedCheck.end();
    },
  };
}

/** What the slot of a foreign key is found by, from its text alone. The whole text has no NUL. */
function lookupIdOf(keyHasher: KeyHasher, text: string): string {
  return keyHasher.hash(`imported key lookup\0${text}`).digest.subarray(0, 18).toString("base64url");
}

function named(candidate: SaltedHashState) {
  return { ...candidate, fingerprint: candidate.fingerprint.toString("hex") };
}
