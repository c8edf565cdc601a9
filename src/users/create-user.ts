import { LockMode, raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import type { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { violates } from "../storage/storage-error.ts";
import { canonical } from "./canonical.ts";
import { grantableRole } from "./grantable-role.ts";
import { Membership } from "./membership-entity.ts";
import { findMember, viewOf } from "./read-users.ts";
import { User } from "./user-entity.ts";
import type { UserView } from "./user-view.ts";

export interface NewUser {
  readonly email: string;
  readonly displayName: string;
  /** The name of a role of the organization. */
  readonly role: string;
  readonly passwordHash: string;
}

/**
 * Creates a user of an organization. Where the email is known in the deployment, what is made is a pending
 * membership, which the email's owner has yet to accept; the answer is alike, and so is the work. Somebody who
 * had left this organization comes back the same way.
 *
 * The password is hashed before: no transaction waits in the hashing queue.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, ROLE_UNKNOWN, PERMISSION_NOT_HELD, OWNER_REQUIRED, EMAIL_TAKEN, and
 * what holdActor() throws.
 */
export async function createUser(storage: Storage, actor: Actor, asked: NewUser): Promise<UserView> {
  const organizationId = oneOrganization(actor);
  const email = canonical(asked.email);
  try {
    return await mutate(storage, authorOf(actor), async (em) => {
      // Hashing may have had to wait, and the actor may have lost their rights meanwhile, or the role gained.
      await holdActor(em, actor);
      const role = await grantableRole(em, actor, organizationId, asked.role, LockMode.PESSIMISTIC_READ);
      const { userId, isNew } = await findOrInsertUser(em, email, asked.passwordHash);
      await insertMembership(em, { organizationId, userId }, role, asked.displayName, isNew);
      const user = await viewOf(em, await findMember(em, organizationId, userId));
      const event = {
        organizationId,
        action: "user.create",
        targetId: userId,
        detail: { after: { role: role.name } },
        personal: { userId, data: { after: { email, displayName: asked.displayName } } },
      };
      return { result: user, event, tags: [`user:${userId}`] };
    });
  } catch (error) {
    if (violates(error, "memberships_organization_id_user_id_key")) {
      throw new AuthError("EMAIL_TAKEN", { cause: error });
    }
    throw error;
  }
}

/** Of several who insert the same person at the same time, one does, and the others find them. */
async function findOrInsertUser(
  em: EntityManager,
  email: string,
  passwordHash: string,
): Promise<{ userId: string; isNew: boolean }> {
  const inserted: { id: string }[] = await em.execute(
    "insert into users (id, email, password_hash) values (?, ?, ?) on conflict (email) do nothing returning id",
    [uuidv4(), email, passwordHash],
  );
  const [row] = inserted;
  const userId = row?.id ?? (await em.findOneOrFail(User, { email })).id;
  return { userId, isNew: row !== undefined };
}

async function insertMembership(
  em: EntityManager,
  of: { readonly organizationId: string; readonly userId: string },
  { id: roleId }: Role,
  displayName: string,
  accepted: boolean,
): Promise<void> {
  const row = {
    // Memberships are listed in the order of their ids: whoever comes back is the newest.
    id: uuidv7(),
    roleId,
    displayName,
    createTime: raw("now()"),
    acceptTime: accepted ? raw("now()") : null,
    disableTime: null,
    removeTime: null,
  };
  const revived = await em.nativeUpdate(Membership, { ...of, removeTime: { $ne: null } }, row);
  if (revived === 0) {
    await em.insert(Membership, { ...of, ...row });
  }
}
