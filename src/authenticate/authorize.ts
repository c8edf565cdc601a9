import { AuthError } from "../errors.ts";
import { isUuid } from "../uuid.ts";
import type { Actor } from "./actor.ts";
import { type Decision, isThemselves } from "./decision.ts";

/** A rule of a method that is met by holding a permission: `latchkey.v1.PermissionRule`. */
export interface PermissionRule {
  readonly name: string;
  readonly scope: "organization" | "platform";
  /** Empty: there is none. */
  readonly platformName: string;
  readonly self: boolean;
}

/** What a call names. */
export interface Subject {
  /** The organization, by the message's `organization_id`; empty where it is empty or has no such field. */
  readonly organizationId: string;
  /** Whether the message has that field: if not, the call is about a thing that is found by its own id. */
  readonly namesOrganization: boolean;
  /** The message's `id`, or else its `user_id`; empty where it has none. */
  readonly id: string;
  /** Whether it names, by another id, what may be the caller's own. */
  readonly mayBeOwn?: boolean;
}

/**
 * Whether a call may be made, and how far it reaches. An actor's own organization bounds it, unless the
 * method's rule has a PLATFORM permission that the actor holds, or the actor is a service that named none.
 *
 * @throws AuthError PERMISSION_DENIED, ORGANIZATION_MISMATCH, ORGANIZATION_AMBIGUOUS
 */
export function authorize(rule: PermissionRule, decision: Decision, subject: Subject): Actor {
  const { principal, organization, permissions } = decision;
  const named = subject.organizationId;
  if (named !== "" && !isUuid(named)) {
    throw new AuthError("ORGANIZATION_ID_INVALID");
  }
  const forPlatform = rule.platformName !== "" && permissions.has(rule.platformName);
  const holds = permissions.has(rule.name) || forPlatform;

  if (rule.scope === "platform") {
    // Who names nobody speaks of themselves. A service on somebody's behalf is not that person here either.
    const isOwnMatter = rule.self && isThemselves(decision) && ["", principal.id].includes(subject.id);
    require(holds || isOwnMatter, rule);
    return { decision, organizationId: undefined };
  }
  if (organization === undefined) {
    require(holds, rule);
    return { decision, organizationId: named === "" ? undefined : named };
  }
  if (named !== "" && named !== organization.id) {
    if (principal.type === "service") {
      throw new AuthError("ORGANIZATION_AMBIGUOUS");
    }
    if (!forPlatform) {
      throw new AuthError("ORGANIZATION_MISMATCH");
    }
    return { decision, organizationId: named };
  }
  // A service that acts on somebody's behalf is not that person: it needs the permission.
  const isPerson = isThemselves(decision);
  const aboutThemselves = rule.self && isPerson && subject.id === principal.id;
  const onlyOwn = !holds && !aboutThemselves && isPerson && subject.mayBeOwn === true;
  require(holds || aboutThemselves || onlyOwn, rule);
  // A person of the platform finds a thing by its id wherever it is. A service said where to look.
  const everywhere = forPlatform && isPerson && !subject.namesOrganization;
  return {
    decision,
    organizationId: everywhere ? undefined : organization.id,
    ...(onlyOwn && { onlyOwn }),
  };
}

function require(holds: boolean, rule: PermissionRule): void {
  if (!holds) {
    throw new AuthError("PERMISSION_DENIED", { metadata: { missing: rule.name } });
  }
}
