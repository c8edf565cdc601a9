import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { erasePersonalData } from "../audit/erase-personal-data.ts";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { ApiKey } from "../credentials/api-key/api-key-entity.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { type EndedKeys, type EndedMembership, endMembership } from "./end-membership.ts";
import { endSessions } from "./end-sessions.ts";
import { lockMembers } from "./lock-members.ts";
import { holdAccount, lockAccounts, requireManaged } from "./managed-account.ts";
import { MEMBER, Membership } from "./membership-entity.ts";
import { actsForPlatform, OWNER, requireAnotherOwner } from "./ownership.ts";
import { User } from "./user-entity.ts";
import { type UserView, viewsOf } from "./user-view.ts";

/** How often somebody may be invited into one more organization before they are held. */
const MOST_TRIES = 5;

export interface UserToDelete {
  readonly id: string;
  /** Empty: the API keys are revoked. */
  readonly newOwnerId: string;
}

/**
 * Deletes an account: its memberships end as by removing them, its sessions everywhere, and what is personal of it is
 * erased. The row stays, since what they made refers to it.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, NOT_FOUND, ACCOUNT_NOT_MANAGED, OWNER_REQUIRED, LAST_OWNER, OWNER_UNKNOWN,
 * PERMISSION_NOT_HELD, and what holdActor() throws.
 */
export async function deleteUser(storage: Storage, actor: Actor, asked: UserToDelete): Promise<EndedKeys> {
  if (!actsForPlatform(actor)) {
    // Some organization of the actor's has to be the one that manages the account.
    oneOrganization(actor);
  }
  if (asked.newOwnerId === asked.id) {
    throw new AuthError("OWNER_UNKNOWN");
  }
  for (let turn = 0; turn < MOST_TRIES; turn++) {
    const ended = await deleteOnce(storage, actor, asked);
    if (ended !== undefined) {
      return ended;
    }
  }
  throw new AuthError("UNAVAILABLE");
}

/** @returns undefined where the person has come into another organization meanwhile, and nothing was done. */
async function deleteOnce(
  storage: Storage,
  actor: Actor,
  { id, newOwnerId }: UserToDelete,
): Promise<EndedKeys | undefined> {
  return await mutate<EndedKeys | undefined>(storage, authorOf(actor), async (em) => {
    await lockAccounts(em);
    const locked = await lockMembersAround(em, id);
    await holdActor(em, actor);
    const account = await holdAccount(em, actor, id);
    if (account.memberships.some(({ organizationId }) => !locked.has(organizationId))) {
      return { result: undefined, unchanged: true };
    }
    await requireManaged(em, actor, account);
    const views = await viewsOf(em, account.memberships);
    const ended: EndedMembership[] = [];
    for (const view of views) {
      ended.push(await leave(em, storage, actor, view, newOwnerId, views.length > 1));
    }
    await endSessions(em, undefined, id);
    await erase(em, id);
    // Of an account of one organization it is on that one's record. Else each has its own event, and the platform's
    // record has the whole.
    const [only, ...others] = views;
    const keys = keysOf(ended);
    const event = {
      ...(others.length === 0 && { organizationId: only?.organizationId }),
      action: "user.delete",
      targetId: id,
      detail: ended.length === 1 ? { ...ended[0]?.detail } : {},
    };
    const tags = new Set([`user:${id}` as const, ...ended.flatMap((one) => one.tags)]);
    return { result: keys, event, tags: [...tags] };
  });
}

/**
 * Lets nobody else change the people of the organizations that somebody belongs to.
 *
 * @returns their ids.
 */
async function lockMembersAround(em: EntityManager, userId: string): Promise<ReadonlySet<string>> {
  const memberships = await em.find(
    Membership,
    { userId, ...MEMBER },
    // In one order, whoever locks several.
    { orderBy: { organizationId: "asc" }, disableIdentityMap: true },
  );
  const ids = memberships.map(({ organizationId }) => organizationId);
  for (const id of ids) {
    await lockMembers(em, id);
  }
  return new Set(ids);
}

async function leave(
  em: EntityManager,
  storage: Storage,
  actor: Actor,
  view: UserView,
  newOwnerId: string,
  isRecorded: boolean,
): Promise<EndedMembership> {
  if (view.role === OWNER && !view.pending) {
    await requireAnotherOwner(em, view);
  }
  const { organizationId, id } = view;
  const hasKeys = (await em.count(ApiKey, { organizationId, ownerUserId: id, revokeTime: null })) > 0;
  const ended = await endMembership(em, actor, view, hasKeys ? newOwnerId : "");
  if (!isRecorded) {
    return ended;
  }
  return await mutate({ ...storage, fork: () => em }, authorOf(actor), async () => {
    const event = { organizationId, action: "user.remove", targetId: id, detail: ended.detail };
    return { result: { ...ended, tags: [] }, event, tags: ended.tags };
  });
}

/** What is personal of an account. Its id stays, which nobody chose and tells nothing. */
async function erase(em: EntityManager, id: string): Promise<void> {
  await em.nativeUpdate(
    User,
    { id },
    {
      // No address, so that nobody is invited by it, and nobody's.
      email: `deleted ${id}`,
      passwordHash: null,
      passwordExpireTime: null,
      passwordChangeRequired: false,
      platformRole: null,
      homeOrganizationId: null,
      importDigest: null,
      deleteTime: raw("now()"),
    },
  );
  // Those too that were left long ago.
  await em.nativeUpdate(Membership, { userId: id }, { displayName: "" });
  await em.execute("update sessions set client_address = '' where user_id = ?", [id]);
  await em.execute("delete from idempotency_keys where subject_id = ?", [id]);
  await erasePersonalData(em, id);
}

function keysOf(ended: readonly EndedMembership[]): EndedKeys {
  return {
    handedOver: ended.flatMap(({ handedOver }) => handedOver),
    revoked: ended.flatMap(({ revoked }) => revoked),
    known: ended.flatMap(({ known }) => known),
  };
}
