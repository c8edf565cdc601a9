import type { EntityManager } from "@mikro-orm/postgresql";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../../storage/page.ts";
import { type DailyUsageRow, readDailyUsage } from "../../usage/read-usage.ts";
import { type KeyView, slotViewsByKey, working } from "../key-slots.ts";
import { ServiceKey, ServiceKeySlot } from "./service-key-entity.ts";

/** An internal key as its readers see it. */
export type ServiceKeyView = KeyView<ServiceKey>;

/** @throws AuthError NOT_FOUND */
export async function getServiceKey(storage: Storage, id: string): Promise<ServiceKeyView> {
  const em = storage.fork();
  const key = await em.findOne(ServiceKey, { id });
  if (key === null) {
    throw new AuthError("NOT_FOUND");
  }
  return await viewOf(em, key);
}

/** @throws AuthError PAGE_TOKEN_INVALID */
export async function listServiceKeys(
  parts: { readonly storage: Storage; readonly pager: Pager },
  request: PageRequest,
): Promise<Page<ServiceKeyView>> {
  const em = parts.storage.fork();
  const page = await parts.pager.page("service_keys", request, async (after, limit) => {
    const condition = after === undefined ? {} : { id: { $gt: after } };
    return await em.find(ServiceKey, condition, { orderBy: { id: "asc" }, limit });
  });
  return { ...page, rows: await viewsOf(em, page.rows) };
}

/**
 * @param days how many to look back, today included.
 * @throws AuthError NOT_FOUND
 */
export async function getServiceKeyUsage(
  storage: Storage,
  { id, days }: { readonly id: string; readonly days: number },
): Promise<{ view: ServiceKeyView; days: readonly DailyUsageRow[] }> {
  const view = await getServiceKey(storage, id);
  return { view, days: await readDailyUsage(storage.fork(), view.key.id, days) };
}

export async function viewOf(em: EntityManager, key: ServiceKey): Promise<ServiceKeyView> {
  const [view] = await viewsOf(em, [key]);
  return view ?? { key, slots: [] };
}

async function viewsOf(em: EntityManager, keys: readonly ServiceKey[]): Promise<ServiceKeyView[]> {
  const ids = keys.map((key) => key.id);
  const slots = await em.find(ServiceKeySlot, { serviceKeyId: { $in: ids }, ...working() });
  const views = await slotViewsByKey(em, slots, (slot) => slot.serviceKeyId);
  return keys.map((key) => ({ key, slots: views.get(key.id) ?? [] }));
}
