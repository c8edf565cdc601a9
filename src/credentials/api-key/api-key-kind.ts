import { LockMode } from "@mikro-orm/core";
import { within } from "../../authenticate/actor.ts";
import type { Decision } from "../../authenticate/decision.ts";
import type { KeyKind } from "../change-key.ts";
import { endImportedHash, restoreImportedHash } from "../imported-key/end-imported-hash.ts";
import type { KeyHasher } from "../key-digest.ts";
import { rateLimitOf } from "../rate-limit.ts";
import { mintKey } from "../secret-key.ts";
import { ApiKey, ApiKeySlot } from "./api-key-entity.ts";
import { viewOf } from "./api-key-view.ts";
import { addApiKeySlot } from "./create-api-key.ts";

export interface ApiKeyKindParts {
  readonly keyHasher: KeyHasher;
  /** What new secrets begin with. */
  readonly prefix: string;
}

/** What is locked is read anew, in the order of all who lock several. */
const HELD = {
  lockMode: LockMode.PESSIMISTIC_WRITE,
  refresh: true,
  orderBy: { lookupId: "asc" },
} as const;

/** API keys, as what changes keys needs to know them. */
export function apiKeyKind({ keyHasher, prefix }: ApiKeyKindParts): KeyKind<ApiKey, ApiKeySlot> {
  return {
    noun: "api_key",
    principalType: "api_key",
    lock: (em, actor, id) =>
      em.findOne(ApiKey, { id, ...within(actor) }, { lockMode: LockMode.PESSIMISTIC_WRITE }),
    slotsOf: (em, { id }) => em.find(ApiKeySlot, { apiKeyId: id }, HELD),
    mint: ({ environment }) => mintKey(prefix, environment),
    addSlot: (em, key, slot, minted, maker) => addApiKeySlot(em, keyHasher, key, slot, minted, maker),
    grantOf: (key) => ({
      permissions: key.permissions,
      expireTime: key.expireTime ?? undefined,
      allowedCidrs: key.allowedCidrs,
      rateLimit: rateLimitOf(key.rateLimitRequests, key.rateLimitWindowSeconds),
    }),
    standingOf: (key) => ({ grantee: "api-key", owner: ownerOf(key) }),
    viewOf,
    elsewhere: {
      async end(em, { id, imported }, overlapMillis) {
        if (imported) {
          await endImportedHash(em, id, overlapMillis);
        }
      },
      restore: async (em, { id, imported }) => imported && (await restoreImportedHash(em, id)),
    },
  };
}

function ownerOf({ ownerUserId, ownerServiceKeyId }: ApiKey): Decision["owner"] {
  if (ownerUserId != null) {
    return { userId: ownerUserId };
  }
  if (ownerServiceKeyId != null) {
    return { serviceKeyId: ownerServiceKeyId };
  }
  throw new Error("an API key has an owner");
}
