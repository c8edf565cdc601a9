import { LockMode } from "@mikro-orm/core";
import type { KeyKind } from "../change-key.ts";
import type { KeyHasher } from "../key-digest.ts";
import { mintKey } from "../secret-key.ts";
import { addServiceKeySlot } from "./create-service-key.ts";
import { viewOf } from "./read-service-keys.ts";
import { ServiceKey, ServiceKeySlot } from "./service-key-entity.ts";
import { SERVICE_KEY_PREFIX } from "./service-key-scheme.ts";

/** What is locked is read anew, in the order of all who lock several. */
const HELD = {
  lockMode: LockMode.PESSIMISTIC_WRITE,
  refresh: true,
  orderBy: { lookupId: "asc" },
} as const;

/** Internal keys, as what changes keys needs to know them. */
export function serviceKeyKind(keyHasher: KeyHasher): KeyKind<ServiceKey, ServiceKeySlot> {
  return {
    noun: "service_key",
    principalType: "service",
    lock: (em, _actor, id) => em.findOne(ServiceKey, { id }, { lockMode: LockMode.PESSIMISTIC_WRITE }),
    slotsOf: (em, { id }) => em.find(ServiceKeySlot, { serviceKeyId: id }, HELD),
    mint: () => mintKey(SERVICE_KEY_PREFIX),
    addSlot: (em, key, slot, minted, maker) => addServiceKeySlot(em, keyHasher, key, slot, minted, maker),
    grantOf: ({ permissions, expireTime, allowedCidrs }) => ({
      permissions,
      expireTime: expireTime ?? undefined,
      allowedCidrs,
      rateLimit: undefined,
    }),
    standingOf: () => ({ grantee: "service-key" }),
    viewOf,
  };
}
