import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { endSessions } from "../../users/end-sessions.ts";
import { requireAuthorityOver } from "../../users/ownership.ts";
import { findMember, viewOf } from "../../users/read-users.ts";
import { User } from "../../users/user-entity.ts";
import { endSession } from "./end-session.ts";
import { Session } from "./session-entity.ts";
import { endable, endsForPlatform, isOneself, whereToEnd } from "./session-reach.ts";

/**
 * Ends one session. One that has ended stays as it is.
 *
 * @param asked.organizationId that the call names; empty where it names none.
 * @returns the ids of what has ended.
 * @throws AuthError NOT_FOUND, also for a session beyond the actor's reach, OWNER_REQUIRED, PERMISSION_NOT_HELD
 */
export async function revokeSession(
  storage: Storage,
  actor: Actor,
  asked: { readonly id: string; readonly organizationId: string },
): Promise<readonly string[]> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const where = { $and: [{ id: asked.id }, endable(actor, asked.organizationId)] };
    const session = await em.findOne(Session, where, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (session === null) {
      throw new AuthError("NOT_FOUND");
    }
    const { organizationId, userId, revokeTime } = session;
    // Of a key's token there is nobody to have authority over.
    if (revokeTime == null && organizationId != null && userId != null) {
      await requireAuthority(em, actor, organizationId, userId);
    }
    return await endSession(em, session.id);
  });
}

/**
 * Ends all sessions of a user, in one organization or, for oneself and by the platform's right, in all.
 *
 * @param asked.organizationId that the call names; empty where it names none.
 * @returns the ids of what has ended.
 * @throws AuthError NOT_FOUND, ORGANIZATION_REQUIRED, OWNER_REQUIRED, PERMISSION_NOT_HELD
 */
export async function revokeSessionsOf(
  storage: Storage,
  actor: Actor,
  asked: { readonly userId: string; readonly organizationId: string },
): Promise<readonly string[]> {
  const { userId } = asked;
  const organizationId = whereToEnd(actor, userId, asked.organizationId);
  return await mutate(storage, authorOf(actor), async (em) => {
    if (organizationId !== undefined) {
      await requireAuthority(em, actor, organizationId, userId);
    } else if ((await em.count(User, { id: userId })) === 0) {
      throw new AuthError("NOT_FOUND");
    }
    const tags = await endSessions(em, organizationId, userId);
    const ended = tags.map((tag) => tag.slice("session:".length));
    if (ended.length === 0) {
      return { result: ended, unchanged: true };
    }
    const event = {
      organizationId,
      action: "user.end_sessions",
      targetId: userId,
      detail: { sessions: ended },
    };
    return { result: ended, event, tags };
  });
}

/** An owner's sessions are ended by owners, and those of the platform's administrators by the platform. */
async function requireAuthority(
  em: EntityManager,
  actor: Actor,
  organizationId: string,
  userId: string,
): Promise<void> {
  if (isOneself(actor, userId)) {
    return;
  }
  const member = await viewOf(em, await findMember(em, organizationId, userId));
  if (!endsForPlatform(actor)) {
    await requireAuthorityOver(em, actor, member);
  }
}
