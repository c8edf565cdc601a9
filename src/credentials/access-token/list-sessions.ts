import { raw } from "@mikro-orm/core";
import type { Actor } from "../../authenticate/actor.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../../storage/page.ts";
import { Session } from "./session-entity.ts";
import { readable } from "./session-reach.ts";

/**
 * Lists the sessions that have not ended.
 *
 * @param request.userId empty: everybody's.
 * @param request.organizationId that the call names; empty where it names none.
 * @throws AuthError ORGANIZATION_REQUIRED, PAGE_TOKEN_INVALID
 */
export async function listSessions(
  parts: { readonly storage: Storage; readonly pager: Pager },
  actor: Actor,
  request: PageRequest & { readonly userId: string; readonly organizationId: string },
): Promise<Page<Session>> {
  const reach = readable(actor, request.userId, request.organizationId);
  const em = parts.storage.fork();
  return await parts.pager.page(JSON.stringify(["sessions", reach]), request, async (after, limit) => {
    const conditions = [reach, isLive(), ...(after === undefined ? [] : [{ id: { $gt: after } }])];
    return await em.find(Session, { $and: conditions }, { orderBy: { id: "asc" }, limit });
  });
}

function isLive() {
  return {
    revokeTime: null,
    expireTime: { $gt: raw("now()") },
    $or: [{ idleExpireTime: null }, { idleExpireTime: { $gt: raw("now()") } }],
  };
}
