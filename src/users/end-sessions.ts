import type { EntityManager } from "@mikro-orm/postgresql";
import type { Tag } from "../changes/mutate.ts";

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
