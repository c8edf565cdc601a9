import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Tag } from "../changes/mutate.ts";
import { Session } from "../credentials/access-token/session-entity.ts";

/**
 * Ends a person's sessions in one organization, within a unit of work.
 *
 * @returns the tags of the change.
 */
export async function endSessions(em: EntityManager, organizationId: string, userId: string): Promise<Tag[]> {
  const rows: { id: string }[] = await em.execute(
    `update sessions set revoke_time = now()
    where organization_id = ? and user_id = ? and revoke_time is null and expire_time > now() returning id`,
    [organizationId, userId],
  );
  return rows.map(({ id }) => `session:${id}` as const);
}

/** Ends a person's sessions everywhere, within a unit of work. What depends on them has the person's tag. */
export async function endEverySession(em: EntityManager, userId: string): Promise<void> {
  await em.nativeUpdate(Session, { userId, revokeTime: null }, { revokeTime: raw("now()") });
}
