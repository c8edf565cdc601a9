import { LockMode, raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { Session } from "../credentials/access-token/session-entity.ts";
import { ApiKey, ApiKeySlot } from "../credentials/api-key/api-key-entity.ts";
import { isMintedLookupId } from "../credentials/secret-key.ts";
import { ServiceKey, ServiceKeySlot } from "../credentials/service-key/service-key-entity.ts";
import { AuthError, type Reason } from "../errors.ts";
import { holdOrganizations } from "../organizations/hold-organizations.ts";
import { expandPatterns, type Grantee } from "../permissions/permission-pattern.ts";
import { narrow, type Rights, shared } from "../permissions/rights.ts";
import { Role } from "../permissions/role-entity.ts";
import { ACTIVE_MEMBER, Membership } from "../users/membership-entity.ts";
import { User } from "../users/user-entity.ts";
import type { Actor } from "./actor.ts";
import { type Decision, delegateOf } from "./decision.ts";

/** The unit of work may have read them before: only what is locked counts. */
const HELD = { lockMode: LockMode.PESSIMISTIC_READ, refresh: true } as const;

/** The condition on what may have an end. It is the time now that counts, not that of the transaction. */
const notOver = () => ({ $or: [{ expireTime: null }, { expireTime: { $gt: raw("clock_timestamp()") } }] });

/**
 * Holds whoever creates something as they are until the unit of work is done. Whoever revokes, disables or
 * demotes them meanwhile waits, and then finds what they made; where that has come first, nothing is made.
 *
 * The organization is held before its people, and a key's owner before the key, in the order in which they are
 * removed; a key before its secrets, as by whoever rotates it; and a token's session last, after all that it stands
 * on.
 *
 * @throws AuthError ORGANIZATION_UNKNOWN, API_KEY_REVOKED, API_KEY_EXPIRED, API_KEY_CREATOR_INACTIVE, SERVICE_KEY_REVOKED,
 * USER_DISABLED, TOKEN_REVOKED, API_KEY_ROTATED, SERVICE_KEY_ROTATED where what they presented has ended meanwhile, and
 * PERMISSION_DENIED where they hold less than when it was decided that they may call.
 */
export async function holdActor(em: EntityManager, actor: Actor): Promise<void> {
  const { decision } = actor;
  const rights = await holdRights(em, actor);
  await holdSecret(em, decision);
  const { grants, permissions } = await holdSession(em, decision, rights);
  const hasGrants = decision.grants.every((text) => grants.includes(text));
  if (!hasGrants || !decision.permissions.isSubsetOf(permissions)) {
    throw rightsChanged();
  }
}

async function holdRights(em: EntityManager, actor: Actor): Promise<Rights> {
  const { decision } = actor;
  const ownerRights = await holdOwner(em, actor);
  if (decision.principal.type === "api_key") {
    return await holdApiKey(em, decision, ownerRights);
  }
  const delegate = delegateOf(decision);
  return delegate === undefined
    ? ownerRights
    : shared(ownerRights, await holdServiceKey(em, decision, delegate.id, "SERVICE_KEY_REVOKED"));
}

/**
 * Holds the user or the internal key that the actor is, or stands on. Whoever has to lock another API key
 * before they hold the actor, who is one too, holds this before both.
 */
export async function holdOwner(em: EntityManager, { decision, organizationId }: Actor): Promise<Rights> {
  const { principal, owner } = decision;
  await holdOrganizations(em, [decision.organization?.id, organizationId]);
  if ("serviceKeyId" in owner) {
    const reason = principal.type === "api_key" ? "API_KEY_CREATOR_INACTIVE" : "SERVICE_KEY_REVOKED";
    return await holdServiceKey(em, decision, owner.serviceKeyId, reason);
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
  if (isPerson && delegateOf(decision) === undefined && role.name !== principal.role) {
    throw rightsChanged();
  }
  const { grants, permissions } = rightsOf(role.permissions, "role", decision);
  return { grants, permissions: new Set([...permissions, ...byPlatformRole]) };
}

async function holdServiceKey(
  em: EntityManager,
  decision: Decision,
  id: string,
  reason: Reason,
): Promise<Rights> {
  const key = await em.findOne(ServiceKey, { id, revokeTime: null, ...notOver() }, HELD);
  if (key === null) {
    throw new AuthError(reason);
  }
  return rightsOf(key.permissions, "service-key", decision);
}

/** The token that was presented has not ended while the call waited, and what it was narrowed to is all. */
async function holdSession(em: EntityManager, decision: Decision, rights: Rights): Promise<Rights> {
  const { principal, credential, catalogue } = decision;
  if (credential.type !== "access_token") {
    return rights;
  }
  const session = await em.findOne(Session, { id: credential.id, revokeTime: null, ...notOver() }, HELD);
  if (session === null) {
    throw new AuthError("TOKEN_REVOKED");
  }
  const grantee = principal.type === "api_key" ? "api-key" : "service-key";
  return narrow(rights, session.permissions ?? undefined, grantee, catalogue);
}

/** The secret of the key that was presented, or that the token was got with, has not ended either. */
async function holdSecret(
  em: EntityManager,
  { principal, parentKey, secretId: lookupId }: Decision,
): Promise<void> {
  if (lookupId === undefined) {
    return;
  }
  if ((parentKey ?? principal).type === "service") {
    if ((await em.findOne(ServiceKeySlot, { lookupId, ...notOver() }, HELD)) === null) {
      throw new AuthError("SERVICE_KEY_ROTATED");
    }
    return;
  }
  const slot = await em.findOne(ApiKeySlot, { lookupId, ...notOver() }, HELD);
  const isForeign = !isMintedLookupId(lookupId);
  if (slot === null && !(isForeign && (await hasForeignSecret(em, principal.id)))) {
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
    const isExpired = (await em.count(ApiKey, { id: principal.id, revokeTime: null })) > 0;
    throw new AuthError(isExpired ? "API_KEY_EXPIRED" : "API_KEY_REVOKED");
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
