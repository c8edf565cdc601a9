import { LockMode, raw } from "@mikro-orm/core";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { endOffspring } from "../end-offspring.ts";
import { type ServiceKeyView, viewOf } from "./read-service-keys.ts";
import { ServiceKey } from "./service-key-entity.ts";

/**
 * Revokes an internal key for good, with the internal keys that were made with it and the secrets that it got by
 * rotating others. One that is revoked already stays as it is.
 *
 * @throws AuthError NOT_FOUND
 */
export async function revokeServiceKey(
  storage: Storage,
  actor: Actor,
  { id, reason }: { readonly id: string; readonly reason: string },
): Promise<ServiceKeyView> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const key = await em.findOne(ServiceKey, { id }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (key === null) {
      throw new AuthError("NOT_FOUND");
    }
    if (key.revokeTime != null) {
      return { result: await viewOf(em, key), unchanged: true };
    }
    await em.nativeUpdate(ServiceKey, { id: key.id }, { revokeTime: raw("now()"), revokeReason: reason });
    await em.refresh(key);
    const ended = await endOffspring(em, { serviceKeys: [key.id] }, reason);
    const { serviceKeys: offspring, apiKeys, rotated } = ended;
    const detail = {
      before: { revoked: false },
      after: { revoked: true },
      reason,
      offspring,
      ...(apiKeys.length > 0 && { apiKeys }),
      ...(rotated.length > 0 && { rotated }),
    };
    return {
      result: await viewOf(em, key),
      event: { action: "service_key.revoke", targetId: key.id, detail },
      tags: [key.id, ...offspring, ...apiKeys, ...rotated].map((each) => `key:${each}` as const),
    };
  });
}
