import type { EntityManager } from "@mikro-orm/postgresql";
import type { ApiKey } from "./api-key-entity.ts";

/**
 * Revokes the keys that were made with a key, or with one that was: whoever had it may have made them. The
 * key itself is revoked already, in the same unit of work, so that it makes no more.
 *
 * @returns their ids.
 */
export async function revokeOffspring(
  em: EntityManager,
  { id, organizationId }: Pick<ApiKey, "id" | "organizationId">,
  reason: string,
): Promise<string[]> {
  const revoked: string[] = [];
  for (;;) {
    // The oldest first, which is the order in which whoever locks several keys does so.
    const rows: { id: string }[] = await em.execute(
      `with recursive offspring as (
        select id from api_keys where organization_id = ? and creator_id = ?
        union
        select k.id from api_keys k join offspring o on k.creator_id = o.id where k.organization_id = ?
      ), locked as (
        select id from api_keys where id in (select id from offspring) and revoke_time is null
        order by id for update
      )
      update api_keys set revoke_time = now(), revoke_reason = ?
      where id in (select id from locked)
      returning id`,
      [organizationId, id, organizationId, reason],
    );
    if (rows.length === 0) {
      return revoked;
    }
    revoked.push(...rows.map((row) => row.id));
    // One of them may have been making another, which the statement waited for and could not see yet.
  }
}
