import { LockMode, raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf, within } from "../../authenticate/actor.ts";
import { type Mutation, mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { endOffspring } from "../end-offspring.ts";
import { ApiKey } from "./api-key-entity.ts";
import { type ApiKeyView, viewOf } from "./api-key-view.ts";

/**
 * Revokes an API key for good, with the keys that were made with it and the secrets that it got by rotating others.
 * One that is revoked already stays as it is.
 *
 * @throws AuthError NOT_FOUND, also for a key beyond the actor's reach.
 */
export async function revokeApiKey(
  storage: Storage,
  actor: Actor,
  { id, reason }: { readonly id: string; readonly reason: string },
): Promise<ApiKeyView> {
  return await mutate(storage, authorOf(actor), (em) =>
    revokeWithOffspring(em, { id, ...within(actor) }, reason),
  );
}

/**
 * The same within a unit of work, for a key that is found by its id.
 *
 * @throws AuthError NOT_FOUND
 */
export async function revokeWithOffspring(
  em: EntityManager,
  where: { readonly id: string; readonly organizationId?: string },
  reason: string,
): Promise<Mutation<ApiKeyView>> {
  const key = await em.findOne(ApiKey, where, { lockMode: LockMode.PESSIMISTIC_WRITE });
  if (key === null) {
    throw new AuthError("NOT_FOUND");
  }
  if (key.revokeTime != null) {
    return { result: await viewOf(em, key), unchanged: true };
  }
  const { id, organizationId } = key;
  await em.nativeUpdate(ApiKey, { id }, { revokeTime: raw("now()"), revokeReason: reason });
  await em.refresh(key);
  const ended = await endOffspring(em, { apiKeys: [id] }, reason);
  const { apiKeys: offspring, serviceKeys, rotated } = ended;
  const detail = {
    before: { revoked: false },
    after: { revoked: true },
    reason,
    offspring,
    ...(serviceKeys.length > 0 && { serviceKeys }),
    ...(rotated.length > 0 && { rotated }),
  };
  return {
    result: await viewOf(em, key),
    event: { organizationId, action: "api_key.revoke", targetId: id, detail },
    tags: [id, ...offspring, ...serviceKeys, ...rotated].map((each) => `key:${each}` as const),
  };
}
