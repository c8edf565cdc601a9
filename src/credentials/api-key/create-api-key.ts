import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { type Actor, authorOf, oneOrganization } from "../../authenticate/actor.ts";
import type { Decision } from "../../authenticate/decision.ts";
import { holdActor } from "../../authenticate/hold-actor.ts";
import { mutate } from "../../changes/mutate.ts";
import { checkBounds, checkGrant } from "../../permissions/grant.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { KeyHasher } from "../key-digest.ts";
import { type MintedKey, mintKey } from "../secret-key.ts";
import { ApiKey, ApiKeySlot } from "./api-key-entity.ts";
import { type ApiKeyView, viewOf } from "./api-key-view.ts";

export interface NewApiKey {
  readonly name: string;
  /** Names and patterns. */
  readonly permissions: readonly string[];
  readonly environment: string;
  readonly allowedCidrs: readonly string[];
  /** Undefined: never. */
  readonly expireTime: Date | undefined;
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
  const permissions = checkGrant(actor.decision, asked.permissions, "api-key");
  checkBounds(actor.decision, asked);
  const minted = mintKey(parts.prefix, asked.environment);

  return await mutate(parts.storage, authorOf(actor), async (em) => {
    await holdActor(em, actor);
    const apiKey = await insertApiKey(em, parts.keyHasher, minted, {
      ...asked,
      permissions,
      organizationId,
      creatorId: actor.decision.principal.id,
      owner: actor.decision.owner,
    });
    const { name, environment, allowedCidrs, expireTime } = asked;
    const detail = { after: { name, permissions, environment, allowedCidrs, expireTime } };
    const { id } = apiKey.key;
    const event = { organizationId, action: "api_key.create", targetId: id, detail };
    return { result: { apiKey, secret: minted.text }, event, tags: [`key:${id}`] };
  });
}

/** The rows of a new API key, within a unit of work. */
export async function insertApiKey(
  em: EntityManager,
  keyHasher: KeyHasher,
  minted: MintedKey,
  asked: NewApiKey & {
    readonly organizationId: string;
    readonly creatorId: string;
    readonly owner: Decision["owner"];
  },
): Promise<ApiKeyView> {
  const { owner, organizationId } = asked;
  const key = em.create(ApiKey, {
    id: uuidv7(),
    organizationId,
    name: asked.name,
    permissions: [...asked.permissions],
    environment: asked.environment,
    allowedCidrs: [...asked.allowedCidrs],
    expireTime: asked.expireTime ?? null,
    creatorId: asked.creatorId,
    ownerUserId: "userId" in owner ? owner.userId : null,
    ownerServiceKeyId: "serviceKeyId" in owner ? owner.serviceKeyId : null,
  });
  // The slot refers to the key, and the ORM does not know that.
  await em.flush();
  const slot = em.create(ApiKeySlot, {
    lookupId: minted.lookupId,
    organizationId,
    apiKeyId: key.id,
    slot: 1,
    displayPrefix: minted.displayPrefix,
    ...keyHasher.hash(minted.text),
  });
  await em.flush();
  return viewOf(key, slot);
}
