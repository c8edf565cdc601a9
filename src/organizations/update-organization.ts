import { LockMode, raw } from "@mikro-orm/core";
import { type Actor, authorOf } from "../authenticate/actor.ts";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { Organization } from "./organization-entity.ts";

/**
 * Suspends or resumes an organization.
 *
 * @param suspended undefined leaves it as it is.
 * @throws AuthError NOT_FOUND
 */
export async function updateOrganization(
  storage: Storage,
  actor: Actor,
  { id, suspended }: { readonly id: string; readonly suspended: boolean | undefined },
): Promise<Organization> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const organization = await em.findOne(Organization, { id }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (organization === null) {
      throw new AuthError("NOT_FOUND");
    }
    const before = organization.suspendTime != null;
    if (suspended === undefined || suspended === before) {
      return { result: organization, unchanged: true };
    }
    await em.nativeUpdate(Organization, { id }, { suspendTime: suspended ? raw("now()") : null });
    await em.refresh(organization);
    const event = {
      organizationId: id,
      action: suspended ? "organization.suspend" : "organization.resume",
      targetId: id,
      detail: { before: { suspended: before }, after: { suspended } },
    };
    return { result: organization, event, tags: [`org:${id}`] };
  });
}
