import type { FilterQuery } from "@mikro-orm/core";
import { type Actor, oneOrganization, within } from "../../authenticate/actor.ts";
import type { Session } from "./session-entity.ts";

const READ = "platform.sessions.read";
const WRITE = "platform.sessions.write";

/** Whether an actor ends whosever sessions by the platform's right, above every organization's own rules. */
export function endsForPlatform({ decision }: Actor): boolean {
  return decision.permissions.has(WRITE);
}

export function isOneself({ decision: { principal } }: Actor, userId: string): boolean {
  return principal.type === "user" && principal.id === userId;
}

/**
 * The condition that keeps a query for one session, by its id, to those that an actor may end.
 *
 * @param named the organization that the call names; empty where it names none.
 */
export function endable(actor: Actor, named: string): FilterQuery<Session> {
  const { principal } = actor.decision;
  const own = { userId: principal.id };
  if (principal.type !== "user" || named !== "") {
    return { ...within(actor), ...(actor.onlyOwn && own) };
  }
  if (actor.onlyOwn) {
    return own;
  }
  return endsForPlatform(actor) ? {} : { $or: [within(actor), own] };
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
    return { organizationId: oneOrganization(actor) };
  }
  const reachesAll = isOneself(actor, userId) || actor.decision.permissions.has(READ);
  return { userId, ...(reachesAll && isPersonWhoNamesNone(actor, named) ? {} : within(actor)) };
}

/** A service says where to look by naming an organization, or by acting for none. */
function isPersonWhoNamesNone({ decision }: Actor, named: string): boolean {
  return decision.principal.type === "user" && named === "";
}
