import type { Author } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import { type Decision, delegateOf } from "./decision.ts";

/** Who makes a management call, and how far it reaches. */
export interface Actor {
  readonly decision: Decision;
  /** The organization that the call is about. Undefined: whichever one its subject belongs to. */
  readonly organizationId: string | undefined;
  /** They lack the permission, and reach nothing but what is their own, where the method's rule has `own_fields`. */
  readonly onlyOwn?: boolean;
}

/** The actor, as the audit log names them: whoever acts, and for whom. */
export function authorOf({ decision }: Actor): Author {
  const { principal, owner } = decision;
  const delegate = delegateOf(decision);
  const person = "userId" in owner && { personId: owner.userId };
  return delegate === undefined
    ? { type: principal.type, id: principal.id, ...person }
    : { type: delegate.type, id: delegate.id, onBehalfOf: principal.id, ...person };
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
