import type { EntityManager } from "@mikro-orm/postgresql";

/** More than one unit of work adds, so that what has piled up gets less. */
const SWEPT_SESSIONS = 2;
const SWEPT_SUCCESSORS = 100;

/** For how long after its use a refresh token is told its successor once more. */
export const RETRY = "interval '10 seconds'";

/**
 * Throws away what nobody needs any more, on the way: sessions that ended a day ago, with their refresh tokens,
 * and successors that it is too late to be told again. Last in its unit of work: it waits for nobody, and nobody
 * who waits for it is waited for.
 */
export async function sweepSessions(em: EntityManager): Promise<void> {
  await em.execute(
    `with forgotten as (
      update refresh_tokens set sealed_successor = null where lookup_id in (
        select lookup_id from refresh_tokens
        where sealed_successor is not null and use_time < clock_timestamp() - ${RETRY}
        limit ${SWEPT_SUCCESSORS} for update skip locked))
    delete from sessions where id in (
      select id from sessions s where expire_time < now() - interval '1 day'
        -- What somebody else may be forgetting right now is not waited for.
        and not exists (
          select from refresh_tokens t where t.session_id = s.id and t.sealed_successor is not null)
      order by expire_time limit ${SWEPT_SESSIONS} for update skip locked)`,
  );
}
