import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import { Session } from "../credentials/access-token/session-entity.ts";
import { Role } from "../permissions/role-entity.ts";
import { canonical } from "./canonical.ts";
import { Membership, NO_INVITATION } from "./membership-entity.ts";
import { OWNER } from "./ownership.ts";
import { User } from "./user-entity.ts";

/**
 * Makes a person an administrator of the platform and an owner of an organization, within a unit of work.
 * They are created where they are not known, and let in again where they were disabled or had left.
 *
 * @returns the id of the user.
 */
export async function makeAdministrator(
  em: EntityManager,
  organizationId: string,
  asked: {
    readonly email: string;
    readonly passwordHash: string;
    /** A password that ends then, and is good for nothing but to be changed; undefined: one's own. */
    readonly passwordExpireTime: Date | undefined;
  },
): Promise<string> {
  const email = canonical(asked.email);
  const known = await em.findOne(User, { email });
  const rights = {
    passwordHash: asked.passwordHash,
    passwordExpireTime: asked.passwordExpireTime ?? null,
    passwordChangeRequired: asked.passwordExpireTime !== undefined,
    // The operator says whose it is: no invitation takes it.
    claimTime: known?.claimTime ?? new Date(),
    platformRole: "administrator" as const,
  };
  const user =
    known === null
      ? em.create(User, { id: uuidv4(), email, homeOrganizationId: organizationId, ...rights })
      : em.assign(known, rights);
  await em.flush();
  // Whoever knew the password before is not let in by what they began with it.
  await em.nativeUpdate(Session, { userId: user.id, revokeTime: null }, { revokeTime: raw("now()") });

  const owner = await em.findOneOrFail(Role, { organizationId, name: OWNER });
  const membership = await em.findOne(Membership, { organizationId, userId: user.id });
  // What an invitation to it was worth, it is no longer.
  const place = {
    roleId: owner.id,
    acceptTime: new Date(),
    disableTime: null,
    removeTime: null,
    ...NO_INVITATION,
  };
  if (membership === null) {
    const displayName = "Administrator";
    em.create(Membership, { id: uuidv7(), organizationId, userId: user.id, displayName, ...place });
  } else {
    em.assign(membership, place);
  }
  await em.flush();
  return user.id;
}
