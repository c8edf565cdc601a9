import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, oneOrganization } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../storage/page.ts";
import { MEMBER, Membership } from "./membership-entity.ts";
import { type UserView, viewsOf } from "./user-view.ts";

/** @throws AuthError ORGANIZATION_REQUIRED, NOT_FOUND also for a user of another organization. */
export async function getUser(storage: Storage, actor: Actor, id: string): Promise<UserView> {
  const em = storage.fork();
  return await viewOf(em, await findMember(em, oneOrganization(actor), id));
}

/** The membership of somebody who has not left. */
export async function findMember(
  em: EntityManager,
  organizationId: string,
  userId: string,
): Promise<Membership | null> {
  return await em.findOne(Membership, { organizationId, userId, ...MEMBER });
}

/** @throws AuthError NOT_FOUND where there is no membership. */
export async function viewOf(em: EntityManager, membership: Membership | null): Promise<UserView> {
  const [view] = membership === null ? [] : await viewsOf(em, [membership]);
  if (view === undefined) {
    throw new AuthError("NOT_FOUND");
  }
  return view;
}

/** @throws AuthError ORGANIZATION_REQUIRED, PAGE_TOKEN_INVALID */
export async function listUsers(
  parts: { readonly storage: Storage; readonly pager: Pager },
  actor: Actor,
  request: PageRequest,
): Promise<Page<UserView>> {
  const organizationId = oneOrganization(actor);
  const em = parts.storage.fork();
  const page = await parts.pager.page(`users ${organizationId}`, request, async (after, limit) => {
    const condition = after === undefined ? {} : { id: { $gt: after } };
    const members = { organizationId, ...MEMBER, ...condition };
    return await em.find(Membership, members, { orderBy: { id: "asc" }, limit });
  });
  return { ...page, rows: await viewsOf(em, page.rows) };
}
