import type { Logger } from "pino";
import type {
  ApiKeyState,
  ImportedKeyState,
  LiveState,
  SaltedHashState,
} from "../../authenticate/live-state.ts";
import type { Trace } from "../../authenticate/trace.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Seal } from "../../storage/seal.ts";
import type { KeyHasher } from "../key-digest.ts";
import { createReadForeignKey, type ForeignKey } from "./foreign-key.ts";
import type { ForeignTexts } from "./key-format.ts";
import { nameOfHash } from "./key-hash.ts";
import { lookupPrefixesOf } from "./lookup-prefix.ts";
import { rehashImportedKey } from "./rehash-imported-key.ts";
import { createRehashQueue } from "./rehash-queue.ts";
import { createSaltedCheck } from "./salted-check.ts";

/** The API keys that were taken over from other systems, by their texts. */
export interface ImportedKeys {
  /** Whether a text may be one of them: it begins neither as one of ours nor as a JWT. */
  mayHave(text: string): boolean;
  /**
   * What is true now of the imported key whose secret this text is. That it is its secret is proved; whether the
   * key is any good is for the caller to see.
   *
   * - no declared format has such texts, or it begins as one of ours or as a JWT: undefined
   * - one has, and this text is no key's: rejects with API_KEY_INVALID
   *
   * @throws AuthError API_KEY_INVALID, KEY_CHECK_BUSY
   */
  find(text: string, trace?: Pick<Trace, "check">): Promise<FoundKey | undefined>;
  /** Resolves when what the last uses have left to do is done. */
  close(): Promise<void>;
}

export interface FoundKey extends ApiKeyState {
  /** Puts its secret into a slot, beside the calls. To be called where the key was used, if there is any need. */
  readonly onUse?: () => void;
}

export interface ImportedKeyParts {
  readonly storage: Storage;
  readonly liveState: LiveState;
  readonly keyHasher: KeyHasher;
  readonly seal: Seal;
  readonly foreignTexts: ForeignTexts;
  readonly log: Pick<Logger, "warn">;
}

export function createImportedKeys(parts: ImportedKeyParts): ImportedKeys {
  const { storage, liveState, keyHasher, log } = parts;
  const readForeignKey = createReadForeignKey(parts);
  const saltedCheck = createSaltedCheck();
  const rehashQueue = createRehashQueue(
    (rehash) => rehashImportedKey(storage, rehash),
    (error) => log.warn({ err: error }, "an imported key keeps its foreign hash until its next use"),
  );

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
    mayHave: (text) => parts.foreignTexts.mayBeForeign(text),
    async find(text, trace) {
      if (!parts.foreignTexts.mayBeForeign(text)) {
        return undefined;
      }
      const foreign = readForeignKey(text, await liveState.keyFormats());
      if (foreign === undefined) {
        return undefined;
      }
      trace?.check("form", () => "an API key of another system, by its prefix, length and alphabet");
      trace?.check("secret", () => "the imported key that it belongs to");
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
      const rehash = { apiKeyId: state.id, lookupId, displayPrefix, ...keyHasher.hash(text) };
      const onUse = () => rehashQueue.add(rehash);
      return { ...state, secret: { ...state.secret, displayPrefix }, onUse };
    },
    async close() {
      await rehashQueue.drain();
      await saltedCheck.end();
    },
  };
}

function named(candidate: SaltedHashState) {
  return { ...candidate, fingerprint: candidate.fingerprint.toString("hex") };
}
