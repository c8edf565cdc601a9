import type { Actor } from "../../authenticate/actor.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { changeKey } from "../change-key.ts";
import { differences } from "../differences.ts";
import { checkKeyChange } from "../key-grant.ts";
import type { RateLimit } from "../rate-limit.ts";
import { type ApiKeyKindParts, apiKeyKind } from "./api-key-kind.ts";
import type { ApiKeyView } from "./api-key-view.ts";
import type { Metadata } from "./create-api-key.ts";

/** What to change of an API key. A field that is undefined stays as it is. */
export interface ApiKeyUpdate {
  readonly id: string;
  readonly name: string | undefined;
  /** Names and patterns. */
  readonly permissions: readonly string[] | undefined;
  /** `never`: no end any more. */
  readonly expireTime: Date | "never" | undefined;
  /** None: from anywhere. */
  readonly allowedCidrs: readonly string[] | undefined;
  readonly metadata: Metadata | undefined;
  /** `unlimited`: as often as one likes. */
  readonly rateLimit: RateLimit | "unlimited" | undefined;
}

/**
 * Changes an API key. What the change adds has to be within what the actor could give to a new key.
 *
 * @throws AuthError NOT_FOUND, KEY_NOT_ACTIVE for a key that was revoked, PERMISSION_UNKNOWN,
 * PERMISSION_NOT_HELD
 */
export async function updateApiKey(
  parts: ApiKeyKindParts & { readonly storage: Storage },
  actor: Actor,
  asked: ApiKeyUpdate,
): Promise<ApiKeyView> {
  const kind = apiKeyKind(parts);
  return await changeKey(kind, parts.storage, actor, asked.id, async (_em, key) => {
    const before = { name: key.name, metadata: key.metadata, ...kind.grantOf(key) };
    const wanted = {
      name: asked.name ?? before.name,
      metadata: asked.metadata ?? before.metadata,
      permissions: asked.permissions ?? before.permissions,
      expireTime: asked.expireTime === "never" ? undefined : (asked.expireTime ?? before.expireTime),
      allowedCidrs: asked.allowedCidrs ?? before.allowedCidrs,
      rateLimit: asked.rateLimit === "unlimited" ? undefined : (asked.rateLimit ?? before.rateLimit),
    };
    const permissions = checkKeyChange(actor.decision, kind.standingOf(key), before, wanted);
    const after = { ...wanted, permissions };
    const detail = differences(before, after);
    if (detail === undefined) {
      return undefined;
    }
    key.name = after.name;
    key.metadata = after.metadata;
    key.permissions = permissions;
    key.expireTime = after.expireTime ?? null;
    key.allowedCidrs = [...after.allowedCidrs];
    key.rateLimitRequests = after.rateLimit?.requests ?? null;
    key.rateLimitWindowSeconds = after.rateLimit?.windowSeconds ?? null;
    return { action: "update", detail };
  });
}
