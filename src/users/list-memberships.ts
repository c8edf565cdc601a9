import type { Actor } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import { Organization } from "../organizations/organization-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../storage/page.ts";
import { MEMBER, Membership } from "./membership-entity.ts";
import { User } from "./user-entity.ts";
import { type UserView, viewsOf } from "./user-view.ts";

/** A person's membership, as they and the platform see it. */
export interface MembershipView extends UserView {
  readonly organizationName: string;
}

/**
 * Lists the memberships of a person that they have not left, whatever else is true of them.
 *
 * @param asked.id empty: the actor's own. Who may ask about whom was decided by the method's rule.
 * @throws AuthError NOT_FOUND, REQUEST_INVALID where the actor is nobody who could be a member, PAGE_TOKEN_INVALID
 */
export async function listMemberships(
  parts: { readonly storage: Storage; readonly pager: Pager },
  { decision: { principal } }: Actor,
  asked: PageRequest & { readonly id: string },
): Promise<Page<MembershipView>> {
  if (asked.id === "" && principal.type !== "user") {
    throw new AuthError("REQUEST_INVALID", { message: "id: name the user; a key is none." });
  }
  const userId = asked.id === "" ? principal.id : asked.id;
  const em = parts.storage.fork();
  if ((await em.count(User, { id: userId, deleteTime: null })) === 0) {
    throw new AuthError("NOT_FOUND");
  }
  const page = await parts.pager.page(`memberships ${userId}`, asked, async (after, limit) => {
    const condition = after === undefined ? {} : { id: { $gt: after } };
    const members = { userId, ...MEMBER, ...condition };
    return await em.find(Membership, members, { orderBy: { id: "asc" }, limit });
  });
  const views = await viewsOf(em, page.rows);
  const ids = views.map(({ organizationId }) => organizationId);
  const organizations = await em.find(Organization, { id: { $in: ids } });
  const names = new Map(organizations.map(({ id, name }) => [id, name]));
  const rows = views.map((view) => ({ ...view, organizationName: names.get(view.organizationId) ?? "" }));
  return { ...page, rows };
}
