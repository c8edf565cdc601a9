import type { EntityManager } from "@mikro-orm/postgresql";

/**
 * Erases what the audit record says of a person, within a unit of work: their email, their names, and the addresses
 * of their calls. The events stay, and with them the chain: of what is gone they hold a digest, whose salt is gone
 * too. Ids stay.
 */
export async function erasePersonalData(em: EntityManager, userId: string): Promise<void> {
  await em.execute(
    "update audit_personal_data set salt = null, data = null where user_id = ? and data is not null",
    [userId],
  );
}
