import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import type { Decision } from "../../authenticate/decision.ts";
import { holdActor } from "../../authenticate/hold-actor.ts";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Seal } from "../../storage/seal.ts";
import { holdKeyOwner } from "../../users/hold-key-owner.ts";
import type { KeyHasher } from "../key-digest.ts";
import { countAlike, findImported, insertKeys } from "./imported-key-rows.ts";
import type { ForeignTexts, KeyFormat } from "./key-format.ts";
import { checkHashable, type KeyHashing } from "./key-hash.ts";
import { type CheckedKey, checkKeys, type KeyToImport } from "./key-to-import.ts";
import { CrowdCount } from "./lookup-prefix.ts";
import { storeFormat } from "./stored-format.ts";

export interface Import {
  readonly organizationId: string;
  /** The user to whom the keys are to belong. Empty: the internal key that makes the call. */
  readonly ownerId: string;
  readonly format: KeyFormat;
  readonly hashing: KeyHashing;
  /** Or what is wrong with one. */
  readonly keys: Iterable<KeyToImport | AuthError>;
  /** Whether nothing is imported where a key cannot be. */
  readonly isAllOrNothing: boolean;
  /** Only tells what would be. */
  readonly validateOnly: boolean;
}

/** What became of one key. */
export type ImportedOutcome =
  /** The id is undefined where it only would have been. */
  | { readonly outcome: "imported"; readonly id: string | undefined }
  | { readonly outcome: "unchanged"; readonly id: string }
  | { readonly outcome: "refused"; readonly fault: AuthError }
  | { readonly outcome: "skipped" };

export interface ImportApiKeysParts {
  readonly storage: Storage;
  readonly keyHasher: KeyHasher;
  readonly seal: Seal;
  readonly foreignTexts: ForeignTexts;
}

/**
 * Takes over API keys of another system. What is wrong with one of them is told in its outcome.
 *
 * @returns what became of each, in their order.
 * @throws AuthError KEY_FORMAT_INVALID, ORGANIZATION_AMBIGUOUS, ORGANIZATION_UNKNOWN, OWNER_UNKNOWN
 */
export async function importApiKeys(
  parts: ImportApiKeysParts,
  actor: Actor,
  asked: Import,
): Promise<ImportedOutcome[]> {
  const { organizationId, format, hashing } = asked;
  parts.foreignTexts.checkFormat(format);
  checkHashable(format, hashing.algorithm);
  const owner = ownerOf(actor, asked);
  const keys = await checkKeys(parts.keyHasher, actor.decision, { ...asked, owner });

  return await mutate(parts.storage, authorOf(actor), async (em) => {
    await holdActor(em, actor);
    await holdOrganization(em, organizationId);
    // Without one they belong to the actor, who is held already.
    if ("userId" in owner) {
      await holdKeyOwner(em, organizationId, owner.userId);
    }
    if (!asked.validateOnly) {
      // Imports take turns: what one of them finds free stays free. Whoever verifies does not wait.
      await em.execute("lock table imported_key_formats in share row exclusive mode");
    }
    const outcomes = await decide(em, organizationId, keys);
    const refused = outcomes.filter(({ outcome }) => outcome === "refused").length;
    if (asked.isAllOrNothing && refused > 0) {
      const result = outcomes.map((each) => (each.outcome === "imported" ? SKIPPED : each));
      return { result, unchanged: true };
    }
    const fresh = keys.flatMap((key, at) => {
      const outcome = outcomes[at];
      return outcome?.outcome === "imported" && !(key instanceof AuthError)
        ? [{ ...key, id: outcome.id ?? "" }]
        : [];
    });
    if (asked.validateOnly || fresh.length === 0) {
      return { result: outcomes.map(withoutNewId), unchanged: true };
    }
    const { id: formatId, isNew } = await storeFormat(em, parts, format, hashing);
    const creatorId = actor.decision.principal.id;
    await insertKeys(em, { organizationId, owner, creatorId, formatId }, fresh);
    const ids = fresh.map(({ id }) => id);
    const event = {
      organizationId,
      action: "api_key.import",
      targetId: organizationId,
      detail: {
        owner,
        format,
        algorithm: hashing.algorithm,
        imported: ids.length,
        unchanged: keys.length - ids.length - refused,
        refused,
        ids,
      },
    };
    const tags = ids.map((id) => `key:${id}` as const);
    return { result: outcomes, event, tags: isNew ? [...tags, "key_formats"] : tags };
  });
}

const SKIPPED: ImportedOutcome = { outcome: "skipped" };

function withoutNewId(each: ImportedOutcome): ImportedOutcome {
  return each.outcome === "imported" ? { ...each, id: undefined } : each;
}

function ownerOf({ decision }: Actor, { organizationId, ownerId }: Import): Decision["owner"] {
  const { principal, organization } = decision;
  if (principal.type === "service" && organization !== undefined && organization.id !== organizationId) {
    throw new AuthError("ORGANIZATION_AMBIGUOUS");
  }
  if (ownerId !== "") {
    return { userId: ownerId };
  }
  if (principal.type !== "service") {
    throw new AuthError("OWNER_UNKNOWN");
  }
  return { serviceKeyId: principal.id };
}

async function holdOrganization(em: EntityManager, id: string): Promise<void> {
  const found: unknown[] = await em.execute("select 1 from organizations where id = ? for key share", [id]);
  if (found.length === 0) {
    throw new AuthError("ORGANIZATION_UNKNOWN");
  }
}

/** What becomes of each key where what is refused does not count for the others. */
async function decide(
  em: EntityManager,
  organizationId: string,
  keys: readonly (CheckedKey | AuthError)[],
): Promise<ImportedOutcome[]> {
  const good = keys.flatMap((key) => (key instanceof AuthError ? [] : [key]));
  const imported = await findImported(
    em,
    good.map(({ fingerprint }) => fingerprint),
  );
  const fresh = good.filter(({ fingerprint }) => !imported.has(fingerprint));
  const crowd = new CrowdCount(
    await countAlike(
      em,
      fresh.flatMap(({ salted }) => (salted === undefined ? [] : [salted.lookupPrefix])),
    ),
  );

  const outcomeOf = (key: CheckedKey): ImportedOutcome => {
    const known = imported.get(key.fingerprint);
    if (known !== undefined) {
      const isSame = known.organizationId === organizationId && known.contentDigest === key.contentDigest;
      if (!isSame) {
        throw new AuthError("KEY_HASH_TAKEN");
      }
      return { outcome: "unchanged", id: known.id };
    }
    if (key.salted !== undefined) {
      crowd.add(key.salted.lookupPrefix);
    }
    return { outcome: "imported", id: uuidv7() };
  };
  return keys.map((key) => {
    try {
      return key instanceof AuthError ? { outcome: "refused", fault: key } : outcomeOf(key);
    } catch (error) {
      if (!(error instanceof AuthError)) {
        throw error;
      }
      return { outcome: "refused", fault: error };
    }
  });
}
