import type { Actor } from "../../authenticate/actor.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { changeKey } from "../change-key.ts";
import { differences } from "../differences.ts";
import type { KeyHasher } from "../key-digest.ts";
import { checkKeyChange } from "../key-grant.ts";
import type { ServiceKeyView } from "./read-service-keys.ts";
import { serviceKeyKind } from "./service-key-kind.ts";

/** What to change of an internal key. A field that is undefined stays as it is. */
export interface ServiceKeyUpdate {
  readonly id: string;
  /** Names and patterns over both scopes. */
  readonly permissions: readonly string[] | undefined;
  /** `never`: no end any more. */
  readonly expireTime: Date | "never" | undefined;
  /** None: from anywhere. */
  readonly allowedCidrs: readonly string[] | undefined;
}

/**
 * Changes an internal key. What the change adds has to be within what the actor could give to a new key.
 *
 * @throws AuthError NOT_FOUND, KEY_NOT_ACTIVE for a key that was revoked, PERMISSION_UNKNOWN,
 * PERMISSION_NOT_HELD
 */
export async function updateServiceKey(
  parts: { readonly storage: Storage; readonly keyHasher: KeyHasher },
  actor: Actor,
  asked: ServiceKeyUpdate,
): Promise<ServiceKeyView> {
  const kind = serviceKeyKind(parts.keyHasher);
  return await changeKey(kind, parts.storage, actor, asked.id, async (_em, key) => {
    const before = kind.grantOf(key);
    const wanted = {
      ...before,
      permissions: asked.permissions ?? before.permissions,
      expireTime: asked.expireTime === "never" ? undefined : (asked.expireTime ?? before.expireTime),
      allowedCidrs: asked.allowedCidrs ?? before.allowedCidrs,
    };
    const permissions = checkKeyChange(actor.decision, kind.standingOf(key), before, wanted);
    const detail = differences(before, { ...wanted, permissions });
    if (detail === undefined) {
      return undefined;
    }
    key.permissions = permissions;
    key.expireTime = wanted.expireTime ?? null;
    key.allowedCidrs = [...wanted.allowedCidrs];
    return { action: "update", detail };
  });
}
