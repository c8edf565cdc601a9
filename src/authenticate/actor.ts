import type { Author } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import type { Decision } from "./decision.ts";

/** Who makes a management call, and how far it reaches. */
export interface Actor {
  readonly decision: Decision;
  /** The organization that the call is about. Undefined: whichever one its subject belongs to. */
  readonly organizationId: string | undefined;
}

/** The actor, as the audit log names them. */
export function authorOf({ decision }: Actor): Author {
  const { principal, owner } = decision;
  return {
    type: principal.type,
    id: principal.id,
    ...("userId" in owner && { personId: owner.userId }),
  };
}

/** The condition that keeps a query within the actor's reach. */
export function within({ organizationId }: Actor): { organizationId?: string } {
  return organizationId === undefined ? {} : { organizationId };
}

/**
 * The one organization that a call about no existing thing is about.
 *
 * @throws AuthError ORGANIZATION_REQUIRED
 */
export function oneOrganization({ organizationId }: Actor): string {
  if (organizationId === undefined) {
    throw new AuthError("ORGANIZATION_REQUIRED");
  }
  return organizationId;
}
