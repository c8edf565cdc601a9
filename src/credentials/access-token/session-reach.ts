import type { FilterQuery } from "@mikro-orm/core";
import { type Actor, oneOrganization, within } from "../../authenticate/actor.ts";
import { isThemselves } from "../../authenticate/decision.ts";
import type { Session } from "./session-entity.ts";

const READ = "platform.sessions.read";
const WRITE = "platform.sessions.write";

/** Whether an actor ends whosever sessions by the platform's right, above every organization's own rules. */
export function endsForPlatform({ decision }: Actor): boolean {
  return decision.permissions.has(WRITE);
}

/** Whether it is the person themselves; a service on their behalf is not. */
export function isOneself({ decision }: Actor, userId: string): boolean {
  return isThemselves(decision) && decision.principal.id === userId;
}

/**
 * The condition that keeps a query for one session, by its id, to those that an actor may end.
 *
 * @param named the organization that the call names; empty where it names none.
 */
export function endable(actor: Actor, named: string): FilterQuery<Session> {
  const own = { userId: actor.decision.principal.id };
  // A token of the platform's own services is no organization's to end.
  const reach = endsForPlatform(actor)
    ? within(actor)
    : { ...within(actor), kind: { $ne: "service" as const } };
  if (!isThemselves(actor.decision) || named !== "") {
    return { ...reach, ...(actor.onlyOwn && own) };
  }
  if (actor.onlyOwn) {
    return own;
  }
  return endsForPlatform(actor) ? {} : { $or: [reach, own] };
}

/**
 * The organization in which an actor ends a user's sessions. Undefined: everywhere.
 *
 * @throws AuthError ORGANIZATION_REQUIRED
 */
export function whereToEnd(actor: Actor, userId: string, named: string): string | undefined {
  if (isOneself(actor, userId)) {
    return named === "" ? undefined : actor.organizationId;
  }
  if (!endsForPlatform(actor)) {
    return oneOrganization(actor);
  }
  return isPersonWhoNamesNone(actor, named) ? undefined : actor.organizationId;
}

/**
 * The condition that keeps a list to the sessions that an actor may read.
 *
 * @param userId empty: everybody's.
 * @throws AuthError ORGANIZATION_REQUIRED
 */
export function readable(actor: Actor, userId: string, named: string): FilterQuery<Session> {
  if (userId === "") {
    return { organizationId: oneOrganization(actor), userId: { $ne: null } };
  }
  const reachesAll = isOneself(actor, userId) || actor.decision.permissions.has(READ);
  return { userId, ...(reachesAll && isPersonWhoNamesNone(actor, named) ? {} : within(actor)) };
}

/** A service says where to look by naming an organization, or by acting for none. */
function isPersonWhoNamesNone({ decision }: Actor, named: string): boolean {
  return isThemselves(decision) && named === "";
}
