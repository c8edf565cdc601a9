import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, oneOrganization, within } from "../../authenticate/actor.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../../storage/page.ts";
import { ApiKey, ApiKeySlot } from "./api-key-entity.ts";
import { type ApiKeyView, viewOf } from "./api-key-view.ts";

/** @throws AuthError NOT_FOUND, also for a key beyond the actor's reach. */
export async function getApiKey(storage: Storage, actor: Actor, id: string): Promise<ApiKeyView> {
  return await findApiKey(storage.fork(), actor, id);
}

/** As getApiKey, within a unit of work. */
export async function findApiKey(em: EntityManager, actor: Actor, id: string): Promise<ApiKeyView> {
  const key = await em.findOne(ApiKey, { id, ...within(actor) });
  if (key === null) {
    throw new AuthError("NOT_FOUND");
  }
  const [view] = await viewsOf(em, [key]);
  return view ?? viewOf(key, undefined);
}

/** @throws AuthError ORGANIZATION_REQUIRED, PAGE_TOKEN_INVALID */
export async function listApiKeys(
  parts: { readonly storage: Storage; readonly pager: Pager },
  actor: Actor,
  request: PageRequest,
): Promise<Page<ApiKeyView>> {
  const organizationId = oneOrganization(actor);
  const em = parts.storage.fork();
  const page = await parts.pager.page(`api_keys ${organizationId}`, request, async (after, limit) => {
    const condition = after === undefined ? {} : { id: { $gt: after } };
    return await em.find(ApiKey, { organizationId, ...condition }, { orderBy: { id: "asc" }, limit });
  });
  return { ...page, rows: await viewsOf(em, page.rows) };
}

async function viewsOf(em: EntityManager, keys: readonly ApiKey[]): Promise<ApiKeyView[]> {
  const slots = await em.find(
    ApiKeySlot,
    { apiKeyId: { $in: keys.map((key) => key.id) } },
    { orderBy: { createTime: "asc" } },
  );
  const newest = new Map(slots.map((slot) => [slot.apiKeyId, slot]));
  return keys.map((key) => viewOf(key, newest.get(key.id)));
}
