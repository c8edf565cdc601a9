import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf } from "../authenticate/actor.ts";
import { mutate } from "../changes/mutate.ts";
import { endOffspring } from "../credentials/end-offspring.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { lockOrganization } from "./lock-organization.ts";
import { Organization } from "./organization-entity.ts";

const REASON = "its organization was deleted";

/** How much ended with an organization. */
export interface DeletedOrganization {
  readonly revokedApiKeys: number;
  readonly removedMembers: number;
  readonly endedSessions: number;
}

/**
 * Deletes an organization, and ends all that acts for it: whoever was just making something in it is waited for.
 * The row stays, since the record of what happened refers to it, and so do those of what was in it. Whatever has no
 * end of its own is refused as of a suspended organization.
 *
 * There may be a hundred thousand keys: they end by the thousand, each thousand by a statement that is soon done, all
 * in one transaction. The record counts them.
 *
 * @param asked.name has to be the organization's.
 * @throws AuthError NOT_FOUND, ORGANIZATION_NAME_MISMATCH, and what holdActor() throws.
 */
export async function deleteOrganization(
  storage: Storage,
  actor: Actor,
  asked: { readonly id: string; readonly name: string },
): Promise<DeletedOrganization> {
  const { id } = asked;
  return await mutate(storage, authorOf(actor), async (em) => {
    const organization = await lockOrganization(em, actor, id);
    if (organization.name !== asked.name) {
      throw new AuthError("ORGANIZATION_NAME_MISMATCH");
    }
    const before = { name: organization.name, suspended: organization.suspendTime != null };
    // People before keys, as everywhere; a login that is under way holds its membership.
    const removedMembers = await endAll(em, REMOVE_MEMBERS, [id]);
    const endedSessions = await endAll(em, END_SESSIONS, [id]);
    const revokedApiKeys = await endAll(em, REVOKE_KEYS, [id, REASON]);
    const makers: { id: string }[] = await em.execute(MAKERS_OF_INTERNAL_KEYS, [id]);
    const ended = await endOffspring(em, { apiKeys: makers.map((key) => key.id) }, REASON);
    await em.nativeUpdate(
      Organization,
      { id },
      { deleteTime: raw("now()"), suspendTime: raw("coalesce(suspend_time, now())"), nameKey: null },
    );
    const result = { revokedApiKeys, removedMembers, endedSessions };
    const { serviceKeys, rotated } = ended;
    const event = {
      organizationId: id,
      action: "organization.delete",
      targetId: id,
      detail: {
        before,
        ...result,
        ...(serviceKeys.length > 0 && { serviceKeys }),
        ...(rotated.length > 0 && { rotated }),
      },
    };
    const tags = [...serviceKeys, ...rotated].map((key) => `key:${key}` as const);
    return { result, event, tags: [`org:${id}`, ...tags] };
  });
}

/** A statement must not take longer than any may. */
const AT_ONCE = 5_000;

// Each ends the next few, the oldest first: that is the order in which whoever locks several does so.

const REMOVE_MEMBERS = `
  with locked as (
    select id from memberships where organization_id = ? and remove_time is null
    order by id limit ${AT_ONCE} for update
  )
  update memberships set remove_time = now() where id in (select id from locked) returning 1`;

const END_SESSIONS = `
  with locked as (
    select id from sessions where organization_id = ? and revoke_time is null and expire_time > now()
    order by id limit ${AT_ONCE} for update
  )
  update sessions set revoke_time = now() where id in (select id from locked) returning 1`;

const REVOKE_KEYS = `
  with locked as (
    select id from api_keys where organization_id = ? and revoke_time is null
    order by id limit ${AT_ONCE} for update
  )
  update api_keys set revoke_time = now(), revoke_reason = ? where id in (select id from locked) returning 1`;

/** What API keys make is of their own organization, and ends with it: but for internal keys, which are few. */
const MAKERS_OF_INTERNAL_KEYS = `
  select k.id from api_keys k
  where k.organization_id = ? and k.id in (
    select creator_id from service_keys union select unnest(maker_ids) from service_keys
    union select creator_id from service_key_slots union select unnest(maker_ids) from service_key_slots)`;

async function endAll(em: EntityManager, statement: string, values: readonly string[]): Promise<number> {
  let all = 0;
  for (let last = AT_ONCE; last === AT_ONCE; all += last) {
    const ended: unknown[] = await em.execute(statement, [...values]);
    last = ended.length;
  }
  return all;
}
