import { raw } from "@mikro-orm/core";
import { type Actor, authorOf } from "../authenticate/actor.ts";
import { mutate } from "../changes/mutate.ts";
import { differences } from "../credentials/differences.ts";
import type { Storage } from "../storage/open-storage.ts";
import { canonical } from "../users/canonical.ts";
import { lockOrganization } from "./lock-organization.ts";
import { asNameTaken } from "./name-taken.ts";
import { Organization } from "./organization-entity.ts";

/** What to change of an organization. A field that is undefined stays as it is. */
export interface OrganizationUpdate {
  readonly id: string;
  readonly name: string | undefined;
  readonly suspended: boolean | undefined;
}

/**
 * Renames an organization, and suspends or resumes it.
 *
 * @throws AuthError NOT_FOUND, ORGANIZATION_NAME_TAKEN, and what holdActor() throws.
 */
export async function updateOrganization(
  storage: Storage,
  actor: Actor,
  asked: OrganizationUpdate,
): Promise<Organization> {
  const { id } = asked;
  const change = mutate(storage, authorOf(actor), async (em) => {
    const organization = await lockOrganization(em, actor, id);
    const before = { name: organization.name, suspended: organization.suspendTime != null };
    const { name = before.name, suspended = before.suspended } = asked;
    const detail = differences(before, { name, suspended });
    if (detail === undefined) {
      return { result: organization, unchanged: true };
    }
    await em.nativeUpdate(
      Organization,
      { id },
      {
        ...(name !== before.name && { name, nameKey: canonical(name) }),
        ...(suspended !== before.suspended && { suspendTime: suspended ? raw("now()") : null }),
      },
    );
    await em.refresh(organization);
    const suspension = suspended ? "organization.suspend" : "organization.resume";
    const action = name === before.name ? suspension : "organization.update";
    const event = { organizationId: id, action, targetId: id, detail };
    return { result: organization, event, tags: [`org:${id}`] };
  });
  return await asNameTaken(change);
}
