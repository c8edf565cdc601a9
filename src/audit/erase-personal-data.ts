import type { EntityManager } from "@mikro-orm/postgresql";
import type { RunStatement } from "../storage/open-storage.ts";

/**
 * Erases what the audit record says of a person, within a unit of work: their email, their names, and the addresses
 * of their calls. The events stay, and with them the chain: of what is gone they hold a digest, whose salt is gone
 * too. Ids stay.
 *
 * The event of the erasure itself must not tell of the person again. What other transactions tell of them at the same
 * time, and refused calls that are yet to be written down, are erased by whoever seals: see eraseLate().
 */
export async function erasePersonalData(em: EntityManager, userId: string): Promise<void> {
  await em.execute(
    "update audit_personal_data set salt = null, data = null where user_id = ? and data is not null",
    [userId],
  );
  await em.execute(
    `insert into audit_erasures (user_id) values (?)
    on conflict (user_id) do update set erase_time = excluded.erase_time`,
    [userId],
  );
}

/** How long after an erasure something of the person may still come in. */
const LATE = "interval '1 hour'";

/** Whether something has come in late: a condition of SQL. */
export const HAS_COME_LATE = `exists (
  select from audit_erasures x join audit_personal_data p on p.user_id = x.user_id and p.data is not null
  where x.erase_time > now() - ${LATE})`;

/** Erases what has come in late, within a transaction. */
export async function eraseLate(run: RunStatement): Promise<void> {
  await run(
    `update audit_personal_data set salt = null, data = null
    where data is not null and user_id in (select user_id from audit_erasures where erase_time > now() - ${LATE})`,
  );
  await run(`delete from audit_erasures where erase_time < now() - 2 * ${LATE}`);
}
