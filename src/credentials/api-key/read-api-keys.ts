import { type FilterQuery, raw } from "@mikro-orm/core";
import { type Actor, oneOrganization, within } from "../../authenticate/actor.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../../storage/page.ts";
import { type DailyUsageRow, readDailyUsage } from "../../usage/read-usage.ts";
import { ApiKey } from "./api-key-entity.ts";
import { type ApiKeyView, viewOf, viewsOf } from "./api-key-view.ts";

/** Which keys of an organization to list. */
export interface ApiKeyFilter {
  /** Undefined: any. */
  readonly state: "active" | "expired" | "revoked" | undefined;
  /** The user or internal key that they belong to. Empty: any. */
  readonly ownerId: string;
  /** What their name holds, in any case. Empty: any. */
  readonly nameContains: string;
  /** Empty: any. */
  readonly environment: string;
}

/** @throws AuthError NOT_FOUND, also for a key beyond the actor's reach. */
export async function getApiKey(storage: Storage, actor: Actor, id: string): Promise<ApiKeyView> {
  const em = storage.fork();
  const key = await em.findOne(ApiKey, { id, ...within(actor) });
  if (key === null) {
    throw new AuthError("NOT_FOUND");
  }
  return await viewOf(em, key);
}

/** @throws AuthError ORGANIZATION_REQUIRED, PAGE_TOKEN_INVALID */
export async function listApiKeys(
  parts: { readonly storage: Storage; readonly pager: Pager },
  actor: Actor,
  request: PageRequest & ApiKeyFilter,
): Promise<Page<ApiKeyView>> {
  const organizationId = oneOrganization(actor);
  const { state, ownerId, nameContains, environment } = request;
  const list = JSON.stringify(["api_keys", organizationId, state, ownerId, nameContains, environment]);
  const em = parts.storage.fork();
  const page = await parts.pager.page(list, request, async (after, limit) => {
    const conditions = [...conditionsOf(request), ...(after === undefined ? [] : [{ id: { $gt: after } }])];
    return await em.find(ApiKey, { organizationId, $and: conditions }, { orderBy: { id: "asc" }, limit });
  });
  return { ...page, rows: await viewsOf(em, page.rows) };
}

/**
 * @param days how many to look back, today included.
 * @throws AuthError NOT_FOUND, also for a key beyond the actor's reach.
 */
export async function getApiKeyUsage(
  storage: Storage,
  actor: Actor,
  { id, days }: { readonly id: string; readonly days: number },
): Promise<{ view: ApiKeyView; days: readonly DailyUsageRow[] }> {
  const view = await getApiKey(storage, actor, id);
  return { view, days: await readDailyUsage(storage.fork(), view.key.id, days) };
}

function conditionsOf({ state, ownerId, nameContains, environment }: ApiKeyFilter): FilterQuery<ApiKey>[] {
  return [
    ...stateConditions(state),
    ...(ownerId === "" ? [] : [{ $or: [{ ownerUserId: ownerId }, { ownerServiceKeyId: ownerId }] }]),
    ...(nameContains === "" ? [] : [nameCondition(nameContains)]),
    ...(environment === "" ? [] : [{ environment }]),
  ];
}

function stateConditions(state: ApiKeyFilter["state"]): FilterQuery<ApiKey>[] {
  switch (state) {
    case "active":
      return [{ revokeTime: null }, { $or: [{ expireTime: null }, { expireTime: { $gt: raw("now()") } }] }];
    case "expired":
      return [{ revokeTime: null }, { expireTime: { $lte: raw("now()") } }];
    case "revoked":
      return [{ revokeTime: { $ne: null } }];
    case undefined:
      return [];
  }
}

/** To a pattern, some characters would mean more than themselves. */
function nameCondition(text: string): FilterQuery<ApiKey> {
  // PostgreSQL has no text with NUL. No name has a control character, so that another one is as good.
  const plain = text.replaceAll("\0", "\u0001").replaceAll(/[\\%_]/g, "\\$&");
  return { name: { $ilike: `%${plain}%` } };
}
