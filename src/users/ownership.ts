import type { Actor } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";

export const OWNER = "owner";

/** Whether the actor manages users by the platform's right, above every organization's own rules. */
export function actsForPlatform({ decision }: Actor): boolean {
  return decision.permissions.has("platform.users.write");
}

/**
 * Only an owner of the organization, or the platform, makes, disables or enables an owner.
 *
 * @throws AuthError OWNER_REQUIRED
 */
export function requireOwner(actor: Actor): void {
  const { principal, organization } = actor.decision;
  const isOwner = principal.role === OWNER && organization?.id === actor.organizationId;
  if (!isOwner && !actsForPlatform(actor)) {
    throw new AuthError("OWNER_REQUIRED");
  }
}
