import { LockMode, raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import type { KeyHasher } from "../credentials/key-digest.ts";
import { AuthError } from "../errors.ts";
import type { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { violates } from "../storage/storage-error.ts";
import { canonical } from "./canonical.ts";
import { grantableRole } from "./grantable-role.ts";
import { INVITED_FOR, type MintedInvitation, mintInvitation } from "./invitation.ts";
import { Membership } from "./membership-entity.ts";
import { findMember, viewOf } from "./read-users.ts";
import type { UserView } from "./user-view.ts";

export interface NewUser {
  readonly email: string;
  readonly displayName: string;
  /** The name of a role of the organization. */
  readonly role: string;
  /** Of an initial password. Undefined: there is none. */
  readonly passwordHash: string | undefined;
}

export interface InvitedUser {
  readonly user: UserView;
  /** The secret with which they accept the membership. */
  readonly invitation: string;
}

/** How often somebody may be found and be gone before they are held. */
const MOST_TRIES = 5;

/**
 * Invites somebody into an organization: a pending membership, and an account that nobody has claimed yet where the
 * email is new. Where it is known in the deployment, the answer is alike, and so is the work. Somebody who had left
 * this organization comes back the same way.
 *
 * The password is hashed before: no transaction waits in the hashing queue.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, ROLE_UNKNOWN, PERMISSION_NOT_HELD, OWNER_REQUIRED, EMAIL_TAKEN, and
 * what holdActor() throws.
 */
export async function createUser(
  { storage, keyHasher }: { readonly storage: Storage; readonly keyHasher: KeyHasher },
  actor: Actor,
  asked: NewUser,
): Promise<InvitedUser> {
  const organizationId = oneOrganization(actor);
  const email = canonical(asked.email);
  const invitation = mintInvitation(keyHasher);
  try {
    return await mutate(storage, authorOf(actor), async (em) => {
      // Hashing may have had to wait, and the actor may have lost their rights meanwhile, or the role gained.
      await holdActor(em, actor);
      const role = await grantableRole(em, actor, organizationId, asked.role, LockMode.PESSIMISTIC_READ);
      const userId = await findOrInsertUser(em, { email, organizationId, passwordHash: asked.passwordHash });
      await insertMembership(em, { organizationId, userId }, role, asked.displayName, invitation);
      const user = await viewOf(em, await findMember(em, organizationId, userId));
      const event = {
        organizationId,
        action: "user.create",
        targetId: userId,
        detail: { after: { role: role.name } },
        personal: { userId, data: { after: { email, displayName: asked.displayName } } },
      };
      return { result: { user, invitation: invitation.text }, event, tags: [`user:${userId}`] };
    });
  } catch (error) {
    if (violates(error, "memberships_organization_id_user_id_key")) {
      throw new AuthError("EMAIL_TAKEN", { cause: error });
    }
    throw error;
  }
}

/**
 * Of several who insert the same person at the same time, one does, and the others find them. Whoever is found is
 * held: they are not deleted before they are invited.
 *
 * @returns the id of the user.
 */
async function findOrInsertUser(
  em: EntityManager,
  asked: {
    readonly email: string;
    readonly organizationId: string;
    readonly passwordHash: string | undefined;
  },
): Promise<string> {
  const { email, organizationId, passwordHash = null } = asked;
  for (let turn = 0; turn < MOST_TRIES; turn++) {
    const rows: { id: string }[] = await em.execute(
      `insert into users (id, email, home_organization_id, claim_time,
        password_hash, password_change_required, password_expire_time)
      values (?, ?, ?, null, ?, ?, case when ? then now() + interval '${INVITED_FOR}' end)
      on conflict (email) do nothing returning id`,
      [uuidv4(), email, organizationId, passwordHash, passwordHash !== null, passwordHash !== null],
    );
    const found: { id: string }[] =
      rows.length > 0
        ? rows
        : await em.execute("select id from users where email = ? for key share", [email]);
    const [user] = found;
    if (user !== undefined) {
      return user.id;
    }
  }
  throw new AuthError("UNAVAILABLE");
}

async function insertMembership(
  em: EntityManager,
  of: { readonly organizationId: string; readonly userId: string },
  { id: roleId }: Role,
  displayName: string,
  { lookupId, digest, pepperId }: MintedInvitation,
): Promise<void> {
  const row = {
    // Memberships are listed in the order of their ids: whoever comes back is the newest.
    id: uuidv7(),
    roleId,
    displayName,
    createTime: raw("now()"),
    acceptTime: null,
    invitationLookupId: lookupId,
    invitationDigest: digest,
    invitationPepperId: pepperId,
    invitationExpireTime: raw(`now() + interval '${INVITED_FOR}'`),
    disableTime: null,
    removeTime: null,
  };
  const revived = await em.nativeUpdate(Membership, { ...of, removeTime: { $ne: null } }, row);
  if (revived === 0) {
    await em.insert(Membership, { ...of, ...row });
  }
}
