import type { EntityManager } from "@mikro-orm/postgresql";
import { AuthError } from "../errors.ts";

/**
 * Holds organizations as they are until the unit of work is done: whoever deletes one of them meanwhile waits, and
 * then finds what was made in it. It comes before everything else that is locked, in the order of the ids.
 *
 * @param ids undefined: none.
 * @throws AuthError ORGANIZATION_UNKNOWN where one does not exist, or is deleted.
 */
export async function holdOrganizations(
  em: EntityManager,
  ids: readonly (string | undefined)[],
): Promise<void> {
  const asked = new Set(ids.filter((id) => id !== undefined));
  if (asked.size === 0) {
    return;
  }
  const held: unknown[] = await em.execute(
    `select id from organizations
    where id in (select jsonb_array_elements_text(?)::uuid) and delete_time is null
    order by id for key share`,
    [JSON.stringify([...asked])],
  );
  if (held.length < asked.size) {
    throw new AuthError("ORGANIZATION_UNKNOWN");
  }
}
