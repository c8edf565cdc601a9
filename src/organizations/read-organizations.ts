import type { Actor } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../storage/page.ts";
import { LIVE_ORGANIZATION, Organization } from "./organization-entity.ts";

/** @throws AuthError NOT_FOUND, also for an organization beyond the actor's reach. */
export async function getOrganization(storage: Storage, actor: Actor, id: string): Promise<Organization> {
  const isWithinReach = actor.organizationId === undefined || actor.organizationId === id;
  const organization = isWithinReach
    ? await storage.fork().findOne(Organization, { id, ...LIVE_ORGANIZATION })
    : null;
  if (organization === null) {
    throw new AuthError("NOT_FOUND");
  }
  return organization;
}

/** @throws AuthError PAGE_TOKEN_INVALID */
export async function listOrganizations(
  parts: { readonly storage: Storage; readonly pager: Pager },
  request: PageRequest,
): Promise<Page<Organization>> {
  return await parts.pager.page("organizations", request, async (after, limit) => {
    const condition = { ...LIVE_ORGANIZATION, ...(after !== undefined && { id: { $gt: after } }) };
    return await parts.storage.fork().find(Organization, condition, { orderBy: { id: "asc" }, limit });
  });
}

/** Whether an organization of this id exists. */
export async function organizationExists(storage: Storage, id: string, orDeleted: boolean): Promise<boolean> {
  return (await storage.fork().count(Organization, { id, ...(!orDeleted && LIVE_ORGANIZATION) })) > 0;
}
