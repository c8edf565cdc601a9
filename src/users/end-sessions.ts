import type { EntityManager } from "@mikro-orm/postgresql";
import type { Tag } from "../changes/mutate.ts";

/**
 * Ends a person's sessions within a unit of work: in one organization, or in all. Whoever does so at the same time
 * locks them in the same order.
 *
 * @returns the tags of the change.
 */
export async function endSessions(
  em: EntityManager,
  organizationId: string | undefined,
  userId: string,
): Promise<Tag[]> {
  const [where, values] =
    organizationId === undefined
      ? ["user_id = ?", [userId]]
      : ["user_id = ? and organization_id = ?", [userId, organizationId]];
  const rows: { id: string }[] = await em.execute(
    `update sessions set revoke_time = now() where id in (
      select id from sessions where ${where} and revoke_time is null and expire_time > now()
      order by id for update)
    returning id`,
    values,
  );
  return rows.map(({ id }) => `session:${id}` as const);
}
