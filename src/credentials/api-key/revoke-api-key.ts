import { raw } from "@mikro-orm/core";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { mutate } from "../../changes/mutate.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { ApiKey } from "./api-key-entity.ts";
import type { ApiKeyView } from "./api-key-view.ts";
import { findApiKey } from "./read-api-keys.ts";

/**
 * Revokes an API key for good. One that is revoked already stays as it is.
 *
 * @throws AuthError NOT_FOUND, also for a key beyond the actor's reach.
 */
export async function revokeApiKey(
  storage: Storage,
  actor: Actor,
  { id, reason }: { readonly id: string; readonly reason: string },
): Promise<ApiKeyView> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const before = await findApiKey(em, actor, id);
    const changed = await em.nativeUpdate(
      ApiKey,
      { id: before.key.id, revokeTime: null },
      { revokeTime: raw("now()"), revokeReason: reason },
    );
    await em.refresh(before.key);
    if (changed === 0) {
      return { result: before, unchanged: true };
    }
    const { organizationId } = before.key;
    const event = { organizationId, action: "api_key.revoke", targetId: id, detail: { reason } };
    return { result: before, event, tags: [`key:${id}`] };
  });
}
