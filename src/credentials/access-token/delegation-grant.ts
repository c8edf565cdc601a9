import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import type { Decision } from "../../authenticate/decision.ts";
import { holdActor } from "../../authenticate/hold-actor.ts";
import { type Author, mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import { holdOrganizations } from "../../organizations/hold-organizations.ts";
import { Organization } from "../../organizations/organization-entity.ts";
import { checkGrant } from "../../permissions/grant.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { ACTIVE_MEMBER, IS_ACTIVE_MEMBER, Membership } from "../../users/membership-entity.ts";
import { type AskedToken, beginKeySession, type KeySubject, signKeyToken } from "./key-session.ts";
import type { IssuedToken, SignTokenParts } from "./sign-token.ts";

export interface DelegationGrantParts extends SignTokenParts {
  readonly storage: Storage;
}

export interface Delegation extends AskedToken {
  /** On whose behalf. Empty: the service's own. */
  readonly userId: string;
  /** Empty: the one of `X-Org-Id`, or the user's only one. */
  readonly organizationId: string;
}

interface Member {
  readonly id: string;
  readonly email: string;
  readonly role: string;
  readonly organizationId: string;
  readonly organizationName: string;
}

/**
 * Issues a token to a service that presents its internal key: to act on behalf of a user, within what both may do,
 * or for itself. It stands on the key, and on the user's membership.
 *
 * @throws AuthError SERVICE_KEY_REQUIRED, PERMISSION_UNKNOWN, PERMISSION_NOT_HELD, NOT_FOUND for a user who is no
 * active member, ORGANIZATION_AMBIGUOUS, ORGANIZATION_REQUIRED, ORGANIZATION_UNKNOWN, ORGANIZATION_SUSPENDED, and
 * what holdActor() throws.
 */
export async function grantByDelegation(
  parts: DelegationGrantParts,
  actor: Actor,
  asked: Delegation,
): Promise<IssuedToken> {
  const { decision } = actor;
  // A person is nobody's service, and no token gets another.
  if (decision.credential.type !== "service_key") {
    throw new AuthError("SERVICE_KEY_REQUIRED");
  }
  const named = namedOrganization(decision, asked.organizationId);
  const permissions = checkGrant(decision, asked.permissions, "service-key");
  const service = authorOf(actor);
  const author: Author = asked.userId === "" ? service : { ...service, onBehalfOf: asked.userId };
  return await mutate(parts.storage, author, async (em) => {
    // Whoever deletes the organization meanwhile waits, and then ends what began. People come before keys, for whoever
    // locks both.
    const user = asked.userId === "" ? undefined : await holdMember(em, asked.userId, named);
    const organizationId = user?.organizationId ?? (await goodOrganization(em, named));
    await holdActor(em, actor);
    const subject: KeySubject =
      user === undefined
        ? { kind: "service", organizationId }
        : { kind: "delegation", organizationId: user.organizationId, userId: user.id };
    const { session, event } = await beginKeySession(em, decision, subject, { ...asked, permissions });
    const accessToken = await signKeyToken(em, parts, decision, subject, session);
    const { expireTime } = session;
    // Nothing that is cached depends on a session that is new.
    return { result: { accessToken, expireTime, refresh: undefined, user }, event, tags: [] };
  });
}

function namedOrganization({ organization }: Decision, asked: string): string | undefined {
  if (asked !== "" && organization !== undefined && asked !== organization.id) {
    throw new AuthError("ORGANIZATION_AMBIGUOUS");
  }
  return asked === "" ? organization?.id : asked;
}

async function goodOrganization(em: EntityManager, id: string | undefined): Promise<string | undefined> {
  if (id === undefined) {
    return undefined;
  }
  await holdOrganizations(em, [id]);
  const { suspendTime } = await em.findOneOrFail(Organization, { id });
  if (suspendTime != null) {
    throw new AuthError("ORGANIZATION_SUSPENDED");
  }
  return id;
}

/** Holds the membership: whoever is disabled or removed meanwhile waits, and then ends what began. */
async function holdMember(
  em: EntityManager,
  userId: string,
  organizationId: string | undefined,
): Promise<Member> {
  const rows: (Member & { suspended: boolean })[] = await em.execute(
    `select u.id, u.email, r.name as role, m.organization_id as "organizationId",
      o.name as "organizationName", o.suspend_time is not null as suspended
    from memberships m
    join users u on u.id = m.user_id
    join roles r on r.organization_id = m.organization_id and r.id = m.role_id
    join organizations o on o.id = m.organization_id
    where m.user_id = ? and m.organization_id = coalesce(?, m.organization_id) and ${IS_ACTIVE_MEMBER}`,
    [userId, organizationId ?? null],
  );
  const [row, ...others] = rows;
  if (row === undefined) {
    throw noMember();
  }
  if (others.length > 0) {
    throw new AuthError("ORGANIZATION_REQUIRED", {
      message: "The user belongs to several organizations: name one in organization_id or X-Org-Id.",
      organizations: rows.map((one) => ({ id: one.organizationId, name: one.organizationName })),
    });
  }
  const { suspended, ...member } = row;
  if (suspended) {
    throw new AuthError("ORGANIZATION_SUSPENDED");
  }
  await holdOrganizations(em, [member.organizationId]);
  const where = { organizationId: member.organizationId, userId, ...ACTIVE_MEMBER };
  if ((await em.findOne(Membership, where, { lockMode: LockMode.PESSIMISTIC_READ })) === null) {
    throw noMember();
  }
  return member;
}

function noMember(): AuthError {
  return new AuthError("NOT_FOUND", { message: "There is no such user, or they are not active there." });
}
