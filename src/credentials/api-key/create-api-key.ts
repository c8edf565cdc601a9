import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { type Actor, authorOf, oneOrganization } from "../../authenticate/actor.ts";
import type { Decision } from "../../authenticate/decision.ts";
import { holdActor } from "../../authenticate/hold-actor.ts";
import { mutate } from "../../changes/mutate.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { KeyHasher } from "../key-digest.ts";
import { checkKeyGrant } from "../key-grant.ts";
import { slotViewOf } from "../key-slots.ts";
import { type Maker, makerOf } from "../maker.ts";
import type { RateLimit } from "../rate-limit.ts";
import { type MintedKey, mintKey } from "../secret-key.ts";
import { ApiKey, ApiKeySlot } from "./api-key-entity.ts";
import type { ApiKeyView } from "./api-key-view.ts";

/** What its holders want to remember of a key: text by name. */
export type Metadata = Readonly<Record<string, string>>;

export interface NewApiKey {
  readonly name: string;
  /** Names and patterns. */
  readonly permissions: readonly string[];
  readonly environment: string;
  readonly allowedCidrs: readonly string[];
  /** Undefined: never. */
  readonly expireTime: Date | undefined;
  readonly metadata: Metadata;
  /** Undefined: as often as one likes. */
  readonly rateLimit: RateLimit | undefined;
}

/**
 * Creates an API key, bounded by what the actor holds now, and for good by the live rights of the user or
 * internal key behind the actor.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, PERMISSION_UNKNOWN, PERMISSION_NOT_HELD
 */
export async function createApiKey(
  parts: { readonly storage: Storage; readonly keyHasher: KeyHasher; readonly prefix: string },
  actor: Actor,
  asked: NewApiKey,
): Promise<{ apiKey: ApiKeyView; secret: string }> {
  const organizationId = oneOrganization(actor);
  const { owner } = actor.decision;
  const permissions = checkKeyGrant(actor.decision, { grantee: "api-key", owner }, asked);
  const minted = mintKey(parts.prefix, asked.environment);

  return await mutate(parts.storage, authorOf(actor), async (em) => {
    await holdActor(em, actor);
    const row = { ...asked, permissions, organizationId, owner, ...makerOf(actor.decision) };
    const apiKey = await insertApiKey(em, parts.keyHasher, minted, row);
    const { name, environment, allowedCidrs, expireTime, metadata, rateLimit } = asked;
    const after = { name, permissions, environment, allowedCidrs, expireTime, metadata, rateLimit };
    const { id } = apiKey.key;
    const event = { organizationId, action: "api_key.create", targetId: id, detail: { after } };
    return { result: { apiKey, secret: minted.text }, event, tags: [`key:${id}`] };
  });
}

/** The rows of a new API key, within a unit of work. */
export async function insertApiKey(
  em: EntityManager,
  keyHasher: KeyHasher,
  minted: MintedKey,
  asked: Omit<NewApiKey, "metadata" | "rateLimit"> &
    Partial<Pick<NewApiKey, "metadata" | "rateLimit">> & {
      readonly organizationId: string;
      readonly creatorId: string;
      readonly makerIds?: string[];
      readonly owner: Decision["owner"];
    },
): Promise<ApiKeyView> {
  const { owner, rateLimit } = asked;
  const key = em.create(ApiKey, {
    id: uuidv7(),
    organizationId: asked.organizationId,
    name: asked.name,
    permissions: [...asked.permissions],
    environment: asked.environment,
    allowedCidrs: [...asked.allowedCidrs],
    expireTime: asked.expireTime ?? null,
    creatorId: asked.creatorId,
    makerIds: asked.makerIds ?? [asked.creatorId],
    ownerUserId: "userId" in owner ? owner.userId : null,
    ownerServiceKeyId: "serviceKeyId" in owner ? owner.serviceKeyId : null,
    metadata: asked.metadata ?? {},
    rateLimitRequests: rateLimit?.requests ?? null,
    rateLimitWindowSeconds: rateLimit?.windowSeconds ?? null,
  });
  // The slot refers to the key, and the ORM does not know that.
  await em.flush();
  const slot = addApiKeySlot(em, keyHasher, key, 1, minted, { makerIds: key.makerIds });
  await em.flush();
  return { key, slots: [slotViewOf(slot)] };
}

/**
 * Puts a secret into a slot of a key that is free.
 *
 * @param maker to whom it is handed; no creator where it is the key's own.
 */
export function addApiKeySlot(
  em: EntityManager,
  keyHasher: KeyHasher,
  key: ApiKey,
  slot: number,
  { lookupId, displayPrefix, text }: MintedKey,
  maker: Pick<Maker, "makerIds"> & Partial<Maker>,
): ApiKeySlot {
  const of = { organizationId: key.organizationId, apiKeyId: key.id, ...maker };
  return em.create(ApiKeySlot, { lookupId, ...of, slot, displayPrefix, ...keyHasher.hash(text) });
}
