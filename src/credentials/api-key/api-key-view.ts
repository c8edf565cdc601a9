import type { EntityManager } from "@mikro-orm/postgresql";
import { type KeyView, slotViewsByKey, working } from "../key-slots.ts";
import { type ApiKey, ApiKeySlot } from "./api-key-entity.ts";

/** An API key as its readers see it. */
export type ApiKeyView = KeyView<ApiKey>;

export async function viewOf(em: EntityManager, key: ApiKey): Promise<ApiKeyView> {
  const [view] = await viewsOf(em, [key]);
  return view ?? { key, slots: [] };
}

export async function viewsOf(em: EntityManager, keys: readonly ApiKey[]): Promise<ApiKeyView[]> {
  const slots = await em.find(ApiKeySlot, { apiKeyId: { $in: keys.map((key) => key.id) }, ...working() });
  const views = await slotViewsByKey(em, slots, (slot) => slot.apiKeyId);
  return keys.map((key) => ({ key, slots: views.get(key.id) ?? [] }));
}
