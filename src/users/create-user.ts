import type { EntityManager } from "@mikro-orm/postgresql";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import { type Actor, authorOf, oneOrganization } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import { checkGrant } from "../permissions/grant.ts";
import { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { violates } from "../storage/storage-error.ts";
import { canonical } from "./canonical.ts";
import { Membership } from "./membership-entity.ts";
import { OWNER, requireOwner } from "./ownership.ts";
import type { PasswordHasher } from "./password.ts";
import { viewOf } from "./read-users.ts";
import { User } from "./user-entity.ts";
import type { UserView } from "./user-view.ts";

export interface NewUser {
  readonly email: string;
  readonly displayName: string;
  /** The name of a role of the organization. */
  readonly role: string;
  readonly password: string;
}

/**
 * Creates a user of an organization. Where the email is known elsewhere in the deployment, what is made is
 * a pending membership, which the email's owner has yet to accept; the answer is alike, and so is the work.
 *
 * @throws AuthError ORGANIZATION_REQUIRED, PASSWORD_TOO_SHORT, ROLE_UNKNOWN, PERMISSION_NOT_HELD,
 * OWNER_REQUIRED, EMAIL_TAKEN
 */
export async function createUser(
  parts: { readonly storage: Storage; readonly passwordHasher: PasswordHasher },
  actor: Actor,
  asked: NewUser,
): Promise<UserView> {
  const organizationId = oneOrganization(actor);
  const email = canonical(asked.email);
  parts.passwordHasher.requireStrength(asked.password);
  const role = await grantableRole(parts.storage.fork(), actor, organizationId, asked.role);
  const passwordHash = await parts.passwordHasher.hash(asked.password);

  const attempt = () =>
    mutate(parts.storage, authorOf(actor), async (em) => {
      // Hashing may have had to wait, and the actor may have lost their rights meanwhile.
      await holdActor(em, actor);
      const known = await em.findOne(User, { email });
      const user = known ?? em.create(User, { id: uuidv4(), email, passwordHash });
      await em.flush();
      const membership = em.create(Membership, {
        id: uuidv7(),
        organizationId,
        userId: user.id,
        roleId: role.id,
        displayName: asked.displayName,
        acceptTime: known === null ? new Date() : null,
      });
      await em.flush();
      const detail = { after: { email, displayName: asked.displayName, role: role.name } };
      const event = { organizationId, action: "user.create", targetId: user.id, detail };
      return { result: await viewOf(em, membership), event, tags: [`user:${user.id}`] };
    });

  try {
    // Somebody else may create the same person at the same time: then they are known at the second look.
    return await attempt().catch((error: unknown) => {
      if (violates(error, "users_email_unique")) {
        return attempt();
      }
      throw error;
    });
  } catch (error) {
    if (violates(error, "memberships_organization_id_user_id_key")) {
      throw new AuthError("EMAIL_TAKEN", { cause: error });
    }
    throw error;
  }
}

async function grantableRole(
  em: EntityManager,
  actor: Actor,
  organizationId: string,
  name: string,
): Promise<Role> {
  const role = await em.findOne(Role, { organizationId, name });
  if (role === null) {
    throw new AuthError("ROLE_UNKNOWN");
  }
  if (role.name === OWNER) {
    requireOwner(actor);
  }
  checkGrant(actor.decision, role.permissions, "role");
  return role;
}
