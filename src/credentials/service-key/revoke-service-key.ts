import { raw } from "@mikro-orm/core";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { mutate } from "../../changes/mutate.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { findServiceKey, type ServiceKeyView } from "./read-service-keys.ts";
import { ServiceKey } from "./service-key-entity.ts";

/**
 * Revokes an internal key for good. One that is revoked already stays as it is.
 *
 * @throws AuthError NOT_FOUND
 */
export async function revokeServiceKey(
  storage: Storage,
  actor: Actor,
  { id, reason }: { readonly id: string; readonly reason: string },
): Promise<ServiceKeyView> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const view = await findServiceKey(em, id);
    const changed = await em.nativeUpdate(
      ServiceKey,
      { id: view.key.id, revokeTime: null },
      { revokeTime: raw("now()"), revokeReason: reason },
    );
    await em.refresh(view.key);
    if (changed === 0) {
      return { result: view, unchanged: true };
    }
    const event = { action: "service_key.revoke", targetId: id, detail: { reason } };
    return { result: view, event, tags: [`key:${id}`] };
  });
}
