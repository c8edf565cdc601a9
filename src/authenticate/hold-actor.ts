import { LockMode, raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { Session } from "../credentials/access-token/session-entity.ts";
import { ApiKey, ApiKeySlot } from "../credentials/api-key/api-key-entity.ts";
import { ServiceKey, ServiceKeySlot } from "../credentials/service-key/service-key-entity.ts";
import { AuthError } from "../errors.ts";
import { holdOrganizations } from "../organizations/hold-organizations.ts";
import { expandPatterns, type Grantee } from "../permissions/permission-pattern.ts";
import { Role } from "../permissions/role-entity.ts";
import { ACTIVE_MEMBER, Membership } from "../users/membership-entity.ts";
import { User } from "../users/user-entity.ts";
import type { Actor } from "./actor.ts";
import type { Decision } from "./decision.ts";

/** The unit of work may have read them before: only what is locked counts. */
const HELD = { lockMode: LockMode.PESSIMISTIC_READ, refresh: true } as const;

/** The condition on what may have an end. It is the time now that counts, not that of the transaction. */
const notOver = () => ({ $or: [{ expireTime: null }, { expireTime: { $gt: raw("clock_timestamp()") } }] });

/** What whoever a decision is about holds now. */
type Rights = Pick<Decision, "grants" | "permissions">;

/**
 * Holds whoever creates something as they are until the unit of work is done. Whoever revokes, disables or
 * demotes them meanwhile waits, and then finds what they made; where that has come first, nothing is made.
 *
 * The organization is held before its people, and a key's owner before the key, in the order in which they are
 * removed.
 *
 * @throws AuthError ORGANIZATION_UNKNOWN, API_KEY_REVOKED, API_KEY_CREATOR_INACTIVE, SERVICE_KEY_REVOKED, USER_DISABLED, TOKEN_REVOKED,
 * API_KEY_ROTATED, SERVICE_KEY_ROTATED where what they presented has ended meanwhile, and
 * PERMISSION_DENIED where they hold less than when it was decided that they may call.
 */
export async function holdActor(em: EntityManager, actor: Actor): Promise<void> {
  const { decision } = actor;
  const ownerRights = await holdOwner(em, actor);
  const { grants, permissions } =
    decision.principal.type === "api_key" ? await holdApiKey(em, decision, ownerRights) : ownerRights;
  // A key before its secrets, in the order in which it is rotated.
  await holdCredential(em, decision);
  const hasGrants = decision.grants.every((text) => grants.includes(text));
  if (!hasGrants || !decision.permissions.isSubsetOf(permissions)) {
    throw rightsChanged();
  }
}

/**
 * Holds the user or the internal key that the actor is, or stands on. Whoever has to lock another API key
 * before they hold the actor, who is one too, holds this before both.
 */
export async function holdOwner(em: EntityManager, { decision, organizationId }: Actor): Promise<Rights> {
  const { principal, owner } = decision;
  await holdOrganizations(em, [decision.organization?.id, organizationId]);
  if ("serviceKeyId" in owner) {
    const key = await em.findOne(
      ServiceKey,
      { id: owner.serviceKeyId, revokeTime: null, ...notOver() },
      HELD,
    );
    if (key === null) {
      throw new AuthError(principal.type === "api_key" ? "API_KEY_CREATOR_INACTIVE" : "SERVICE_KEY_REVOKED");
    }
    return rightsOf(key.permissions, "service-key", decision);
  }
  const isPerson = principal.type === "user";
  // The account before the membership, in the order in which a login holds them.
  const byPlatformRole = isPerson ? await holdPlatformRole(em, decision) : [];
  const membership = await em.findOne(
    Membership,
    { organizationId: decision.organization?.id ?? null, userId: owner.userId, ...ACTIVE_MEMBER },
    HELD,
  );
  if (membership === null) {
    throw new AuthError(isPerson ? "USER_DISABLED" : "API_KEY_CREATOR_INACTIVE");
  }
  const role = await em.findOneOrFail(Role, { id: membership.roleId }, HELD);
  // Being an owner is more than its permissions: another role with the same ones is less.
  if (isPerson && role.name !== principal.role) {
    throw rightsChanged();
  }
  const { grants, permissions } = rightsOf(role.permissions, "role", decision);
  return { grants, permissions: new Set([...permissions, ...byPlatformRole]) };
}

/** What was presented has not ended while the call waited. */
async function holdCredential(
  em: EntityManager,
  { principal, credential, secretId }: Decision,
): Promise<void> {
  if (credential.type === "access_token") {
    const session = { id: credential.id, revokeTime: null, ...notOver() };
    if ((await em.findOne(Session, session, HELD)) === null) {
      throw new AuthError("TOKEN_REVOKED");
    }
    return;
  }
  const lookupId = secretId ?? "";
  if (principal.type === "service") {
    if ((await em.findOne(ServiceKeySlot, { lookupId, ...notOver() }, HELD)) === null) {
      throw new AuthError("SERVICE_KEY_ROTATED");
    }
    return;
  }
  const slot = await em.findOne(ApiKeySlot, { lookupId, ...notOver() }, HELD);
  if (slot === null && !(await hasForeignSecret(em, principal.id))) {
    throw new AuthError("API_KEY_ROTATED");
  }
}

/** The secret of an imported key comes into a slot after its first use only. */
async function hasForeignSecret(em: EntityManager, apiKeyId: string): Promise<boolean> {
  const rows: unknown[] = await em.execute(
    `select 1 from imported_key_hashes where api_key_id = ? and rehash_time is null
      and (expire_time is null or expire_time > clock_timestamp()) for share`,
    [apiKeyId],
  );
  return rows.length > 0;
}

async function holdPlatformRole(em: EntityManager, decision: Decision): Promise<readonly string[]> {
  const { platform } = decision.catalogue;
  if (!platform.some((name) => decision.permissions.has(name))) {
    return [];
  }
  const user = await em.findOne(User, { id: decision.principal.id, platformRole: "administrator" }, HELD);
  return user === null ? [] : platform;
}

async function holdApiKey(em: EntityManager, decision: Decision, ownerRights: Rights): Promise<Rights> {
  const { principal, owner } = decision;
  const key = await em.findOne(ApiKey, { id: principal.id, revokeTime: null, ...notOver() }, HELD);
  if (key === null) {
    throw new AuthError("API_KEY_REVOKED");
  }
  const ownerId = "userId" in owner ? owner.userId : owner.serviceKeyId;
  if (ownerId !== (key.ownerUserId ?? key.ownerServiceKeyId)) {
    throw rightsChanged();
  }
  const { grants, permissions } = rightsOf(key.permissions, "api-key", decision);
  return { grants, permissions: new Set(permissions).intersection(ownerRights.permissions) };
}

function rightsOf(grants: readonly string[], grantee: Grantee, { catalogue }: Decision): Rights {
  return { grants, permissions: expandPatterns(grants, grantee, catalogue) };
}

function rightsChanged(): AuthError {
  return new AuthError("PERMISSION_DENIED", {
    message: "What you may do has changed in the meantime. Try again.",
  });
}
