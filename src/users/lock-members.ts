import type { EntityManager } from "@mikro-orm/postgresql";

/**
 * Lets nobody else change the people of an organization, or what their roles allow, until the unit of work is
 * done: two owners must not remove each other at the same time.
 *
 * What refers to the organization goes on: whoever is held while they create something would otherwise wait
 * for us, and we for them.
 */
export async function lockMembers(em: EntityManager, organizationId: string): Promise<void> {
  await em.execute("select from organizations where id = ? for no key update", [organizationId]);
}
