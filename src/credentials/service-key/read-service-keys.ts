import type { EntityManager } from "@mikro-orm/postgresql";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../../storage/page.ts";
import { ServiceKey, ServiceKeySlot } from "./service-key-entity.ts";

/** An internal key as its readers see it. */
export interface ServiceKeyView {
  readonly key: ServiceKey;
  /** The start of its text, by which people recognize it. */
  readonly displayPrefix: string;
}

/** @throws AuthError NOT_FOUND */
export async function findServiceKey(em: EntityManager, id: string): Promise<ServiceKeyView> {
  const key = await em.findOne(ServiceKey, { id });
  if (key === null) {
    throw new AuthError("NOT_FOUND");
  }
  const [view] = await viewsOf(em, [key]);
  return view ?? viewOf(key, undefined);
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

/** @param slot the newest. */
export function viewOf(key: ServiceKey, slot: ServiceKeySlot | undefined): ServiceKeyView {
  return { key, displayPrefix: slot?.displayPrefix ?? "" };
}

async function viewsOf(em: EntityManager, keys: readonly ServiceKey[]): Promise<ServiceKeyView[]> {
  const slots = await em.find(
    ServiceKeySlot,
    { serviceKeyId: { $in: keys.map((key) => key.id) } },
    { orderBy: { createTime: "asc" } },
  );
  const newest = new Map(slots.map((slot) => [slot.serviceKeyId, slot]));
  return keys.map((key) => viewOf(key, newest.get(key.id)));
}
