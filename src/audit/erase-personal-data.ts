import type { EntityManager } from "@mikro-orm/postgresql";

/**
 * Erases what the record holds of a person, within the unit of work that deletes them. Events name people by their
 * ids, which stay.
 */
export async function erasePersonalData(_em: EntityManager, _userId: string): Promise<void> {}
