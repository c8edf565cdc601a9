import { type Actor, oneOrganization } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import { PLATFORM_CHAIN } from "./sealed-form.ts";

const PLATFORM_READ = "platform.audit.read";

/** Whose record is asked for. */
export interface AskedRecord {
  /** Of the message, before it was decided who may call. */
  readonly organizationId: string;
  /** Empty: the organization's that the call is about. */
  readonly record: string;
}

/**
 * The chain that a call is about: that of the actor's organization, or any other where it is named by whoever reads
 * the record of the platform.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, ORGANIZATION_AMBIGUOUS, PERMISSION_DENIED
 */
export function chainOf(actor: Actor, { organizationId, record }: AskedRecord): string {
  if (record === "") {
    return oneOrganization(actor);
  }
  const { principal, organization, permissions } = actor.decision;
  if (!permissions.has(PLATFORM_READ)) {
    throw new AuthError("PERMISSION_DENIED", { metadata: { missing: PLATFORM_READ } });
  }
  const chain = record === "platform" ? PLATFORM_CHAIN : record.toLowerCase();
  // A service that said for whom it acts has said where to look.
  const isBound = principal.type === "service" && organization !== undefined && organization.id !== chain;
  if (isBound || organizationId !== "") {
    throw new AuthError("ORGANIZATION_AMBIGUOUS");
  }
  return chain;
}
