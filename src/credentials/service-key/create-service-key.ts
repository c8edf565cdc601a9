import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { holdActor } from "../../authenticate/hold-actor.ts";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { violates } from "../../storage/storage-error.ts";
import type { KeyHasher } from "../key-digest.ts";
import { checkKeyGrant } from "../key-grant.ts";
import { slotViewOf } from "../key-slots.ts";
import { type Maker, makerOf } from "../maker.ts";
import { type MintedKey, mintKey } from "../secret-key.ts";
import type { ServiceKeyView } from "./read-service-keys.ts";
import { ServiceKey, ServiceKeySlot } from "./service-key-entity.ts";
import { SERVICE_KEY_PREFIX } from "./service-key-scheme.ts";

export interface NewServiceKey {
  readonly name: string;
  /** Names and patterns over both scopes. Empty: everything. */
  readonly permissions: readonly string[];
  readonly allowedCidrs: readonly string[];
  /** Undefined: never. */
  readonly expireTime: Date | undefined;
}

/**
 * Creates an internal key, bounded by what the actor holds.
 *
 * @throws AuthError PERMISSION_UNKNOWN, PERMISSION_NOT_HELD, SERVICE_KEY_NAME_TAKEN
 */
export async function createServiceKey(
  parts: { readonly storage: Storage; readonly keyHasher: KeyHasher },
  actor: Actor,
  asked: NewServiceKey,
): Promise<{ serviceKey: ServiceKeyView; secret: string }> {
  const wanted = asked.permissions.length === 0 ? ["*"] : asked.permissions;
  const grant = { ...asked, permissions: wanted, rateLimit: undefined };
  const permissions = checkKeyGrant(actor.decision, { grantee: "service-key" }, grant);
  const minted = mintKey(SERVICE_KEY_PREFIX);
  try {
    return await mutate(parts.storage, authorOf(actor), async (em) => {
      await holdActor(em, actor);
      const key = await insertServiceKey(em, parts.keyHasher, minted, {
        ...asked,
        permissions,
        ...makerOf(actor.decision),
      });
      const { name, allowedCidrs, expireTime } = asked;
      const detail = { after: { name, permissions, allowedCidrs, expireTime } };
      const event = { action: "service_key.create", targetId: key.key.id, detail };
      return { result: { serviceKey: key, secret: minted.text }, event, tags: [`key:${key.key.id}`] };
    });
  } catch (error) {
    if (violates(error, "service_keys_name_key")) {
      throw new AuthError("SERVICE_KEY_NAME_TAKEN", { cause: error });
    }
    throw error;
  }
}

/** The rows of a new internal key, within a unit of work. */
export async function insertServiceKey(
  em: EntityManager,
  keyHasher: KeyHasher,
  minted: MintedKey,
  asked: NewServiceKey & Partial<Maker>,
): Promise<ServiceKeyView> {
  const key = em.create(ServiceKey, {
    id: uuidv7(),
    name: asked.name,
    permissions: [...asked.permissions],
    allowedCidrs: [...asked.allowedCidrs],
    expireTime: asked.expireTime ?? null,
    creatorId: asked.creatorId ?? null,
    makerIds: asked.makerIds ?? [],
  });
  await em.flush();
  const slot = addServiceKeySlot(em, keyHasher, key, 1, minted, { makerIds: key.makerIds });
  await em.flush();
  return { key, slots: [slotViewOf(slot)] };
}

/**
 * Puts a secret into a slot of a key that is free.
 *
 * @param maker to whom it is handed; no creator where it is the key's own.
 */
export function addServiceKeySlot(
  em: EntityManager,
  keyHasher: KeyHasher,
  { id: serviceKeyId }: ServiceKey,
  slot: number,
  { lookupId, displayPrefix, text }: MintedKey,
  maker: Pick<Maker, "makerIds"> & Partial<Maker>,
): ServiceKeySlot {
  const of = { serviceKeyId, ...maker };
  return em.create(ServiceKeySlot, { lookupId, ...of, slot, displayPrefix, ...keyHasher.hash(text) });
}
