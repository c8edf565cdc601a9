import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, oneOrganization } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import { checkGrant } from "../permissions/grant.ts";
import { Role } from "../permissions/role-entity.ts";
import { LOCKS } from "../storage/locks.ts";
import { requireGrantable } from "./grantable-role.ts";
import { MEMBER, Membership } from "./membership-entity.ts";
import { actsForPlatform } from "./ownership.ts";
import { User } from "./user-entity.ts";

/** An account that somebody may reset or delete, held until the unit of work is done. */
export interface HeldAccount {
  readonly user: User;
  /** Those that were not left, the oldest first. */
  readonly memberships: readonly Membership[];
}

/**
 * Lets nobody else reset or delete an account until the unit of work is done: those who may are themselves people,
 * who could be doing it to each other.
 */
export async function lockAccounts(em: EntityManager): Promise<void> {
  await em.execute("select pg_advisory_xact_lock(?)", [LOCKS.accounts]);
}

/**
 * Holds an account that is within the actor's reach: nobody invites its owner anywhere, logs them in, or changes
 * what they may do, meanwhile.
 *
 * @throws AuthError NOT_FOUND
 */
export async function holdAccount(em: EntityManager, actor: Actor, id: string): Promise<HeldAccount> {
  const { organizationId } = actor;
  const lockMode = LockMode.PESSIMISTIC_WRITE;
  const user = await em.findOne(User, { id, deleteTime: null }, { lockMode, refresh: true });
  if (user === null) {
    throw new AuthError("NOT_FOUND");
  }
  const of = { userId: id, ...MEMBER };
  const memberships = await em.find(Membership, of, { orderBy: { id: "asc" }, lockMode, refresh: true });
  if (organizationId !== undefined && memberships.every((row) => row.organizationId !== organizationId)) {
    throw new AuthError("NOT_FOUND");
  }
  return { user, memberships };
}

/**
 * Checks that an account is the actor's to reset or to delete.
 *
 * An organization manages those that it created and whose owner has accepted it and is nobody elsewhere: whoever
 * takes over such an account has won nothing that is not the organization's. That somebody is pending is told alike
 * of all: a new email and one that is known elsewhere look the same until it is accepted.
 *
 * @throws AuthError ACCOUNT_NOT_MANAGED, PERMISSION_NOT_HELD, OWNER_REQUIRED
 */
export async function requireManaged(
  em: EntityManager,
  actor: Actor,
  { user, memberships }: HeldAccount,
): Promise<void> {
  if (actsForPlatform(actor)) {
    if (user.platformRole != null) {
      checkGrant(actor.decision, actor.decision.catalogue.platform, "service-key");
    }
    return;
  }
  const organizationId = oneOrganization(actor);
  const isManaged =
    user.homeOrganizationId === organizationId &&
    user.platformRole == null &&
    memberships.every((row) => row.organizationId === organizationId && row.acceptTime != null);
  const [role] = await rolesOf(
    em,
    memberships.filter((row) => row.organizationId === organizationId),
  );
  if (role !== undefined) {
    requireGrantable(actor, role);
  }
  if (!isManaged) {
    throw new AuthError("ACCOUNT_NOT_MANAGED");
  }
}

/**
 * Checks that all that the owner of an account may do, wherever they may, is the actor's to give: whoever is told
 * the password could do it in their name.
 *
 * @throws AuthError PERMISSION_NOT_HELD, OWNER_REQUIRED
 */
export async function requireNoMoreRights(
  em: EntityManager,
  actor: Actor,
  { memberships }: HeldAccount,
): Promise<void> {
  for (const role of await rolesOf(em, memberships)) {
    requireGrantable(actor, role);
  }
}

/** They are held: they do not come to allow more meanwhile. */
async function rolesOf(em: EntityManager, memberships: readonly Membership[]): Promise<Role[]> {
  const ids = memberships.map(({ roleId }) => roleId);
  const lockMode = LockMode.PESSIMISTIC_READ;
  return await em.find(Role, { id: { $in: ids } }, { orderBy: { id: "asc" }, lockMode, refresh: true });
}
