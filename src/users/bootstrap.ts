import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { mutate, type Tag } from "../changes/mutate.ts";
import { insertOrganization } from "../organizations/create-organization.ts";
import { Organization } from "../organizations/organization-entity.ts";
import { LOCKS } from "../storage/locks.ts";
import type { Storage } from "../storage/open-storage.ts";
import { canonical } from "./canonical.ts";
import { makeAdministrator } from "./make-administrator.ts";
import { IS_ACTIVE_MEMBER } from "./membership-entity.ts";
import type { PasswordHasher } from "./password.ts";
import type { PasswordPolicy } from "./password-policy.ts";
import { User } from "./user-entity.ts";

const ONE_TIME_MILLIS = 24 * 60 * 60 * 1000;
const EMAIL = /^[^\s@\p{C}]{1,64}@[^\s@\p{C}]{1,189}$/u;
const NAME = /^[^\p{C}\p{Z}]([^\p{C}]{0,98}[^\p{C}\p{Z}])?$/u;

/** The message is for a person. */
export class BootstrapRefused extends Error {
  override readonly name = "BootstrapRefused";
}

/**
 * Makes the first administrator of the platform, with a one-time password that has to be changed first: only while
 * there is none who can log in, so it is also the way back in. Of several at once, one succeeds.
 *
 * @throws BootstrapRefused
 * @throws AuthError PASSWORD_TOO_SHORT, PASSWORD_COMMON, PASSWORD_CONTEXT
 */
export async function bootstrap(
  parts: {
    readonly storage: Storage;
    readonly passwordHasher: PasswordHasher;
    readonly passwordPolicy: PasswordPolicy;
  },
  asked: { readonly organization: string; readonly email: string; readonly password: string },
): Promise<{ organizationId: string; expireTime: Date }> {
  if (!NAME.test(asked.organization)) {
    throw new BootstrapRefused("--organization is a name of 1 to 100 characters");
  }
  if (!EMAIL.test(asked.email)) {
    throw new BootstrapRefused("--email is not an email address");
  }
  parts.passwordPolicy.requireStrength(asked.password, { email: asked.email, names: [asked.organization] });
  const passwordHash = await parts.passwordHasher.hash(asked.password);
  return await mutate(parts.storage, { type: "operator", id: "bootstrap" }, async (em) => {
    await em.execute("select pg_advisory_xact_lock(?)", [LOCKS.bootstrap]);
    const { email } = asked;
    if (await someAdministratorCanLogIn(em)) {
      throw new BootstrapRefused("there is an administrator already; ask them");
    }
    const organization =
      (await em.findOne(
        Organization,
        { nameKey: canonical(asked.organization) },
        // Nobody deletes it meanwhile.
        { lockMode: LockMode.PESSIMISTIC_READ },
      )) ?? (await insertOrganization(em, asked.organization));
    if (organization.suspendTime != null) {
      throw new BootstrapRefused("that organization is suspended; name another");
    }
    // Those whom the new one replaces do not come back with rights that they had.
    const administrators = await em.find(User, { platformRole: { $ne: null } });
    for (const administrator of administrators) {
      administrator.platformRole = null;
    }
    await em.flush();
    const replaced = administrators.map(({ id }) => id);
    const { id: organizationId } = organization;
    const expireTime = new Date(Date.now() + ONE_TIME_MILLIS);
    const made = { email, passwordHash, passwordExpireTime: expireTime };
    const userId = await makeAdministrator(em, organizationId, made);
    return {
      result: { organizationId, expireTime },
      event: {
        organizationId,
        action: "administrator.bootstrap",
        targetId: userId,
        detail: {
          before: { administrators: replaced },
          after: { administrators: [userId], passwordExpireTime: expireTime },
        },
        personal: { userId, data: { after: { email } } },
      },
      tags: [`org:${organizationId}`, ...[userId, ...replaced].map(userTag)],
    };
  });
}

const userTag = (id: string): Tag => `user:${id}`;

async function someAdministratorCanLogIn(em: EntityManager): Promise<boolean> {
  const [row] = await em.execute<[{ found: boolean }]>(`
    select exists (
      select from users u
      join memberships m on m.user_id = u.id and ${IS_ACTIVE_MEMBER}
      join organizations o on o.id = m.organization_id and o.suspend_time is null
      where u.platform_role = 'administrator' and u.password_hash is not null
        and (u.password_expire_time is null or u.password_expire_time > now())
    ) as found`);
  return row.found;
}
