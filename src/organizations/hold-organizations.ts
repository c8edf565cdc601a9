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
  const held = await holdThoseThatExist(em, asked);
  if (held.size < asked.size) {
    throw new AuthError("ORGANIZATION_UNKNOWN");
  }
}

/**
 * The same where some may not exist.
 *
 * @returns the ids of those that do.
 */
export async function holdThoseThatExist(
  em: EntityManager,
  ids: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  if (ids.size === 0) {
    return ids;
  }
  const held: { id: string }[] = await em.execute(
    `select id from organizations
    where id in (select jsonb_array_elements_text(?)::uuid) and delete_time is null
    order by id for key share`,
    [JSON.stringify([...ids])],
  );
  return new Set(held.map(({ id }) => id));
}
