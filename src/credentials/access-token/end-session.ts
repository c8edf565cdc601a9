import type { EntityManager } from "@mikro-orm/postgresql";
import type { Mutation } from "../../changes/mutate.ts";

/**
 * Ends a session within a unit of work, with all its tokens. One that has ended stays as it is.
 *
 * @returns what it did; its result is the id.
 */
export async function endSession(em: EntityManager, id: string): Promise<Mutation<readonly string[]>> {
  const [ended] = await em.execute<{ organization_id: string | null }[]>(
    "update sessions set revoke_time = now() where id = ? and revoke_time is null returning organization_id",
    [id],
  );
  if (ended === undefined) {
    return { result: [id], unchanged: true };
  }
  const organizationId = ended.organization_id ?? undefined;
  const event = { organizationId, action: "session.revoke", targetId: id, detail: {} };
  return { result: [id], event, tags: [`session:${id}`] };
}
