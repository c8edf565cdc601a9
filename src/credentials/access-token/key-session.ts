import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import type { Decision } from "../../authenticate/decision.ts";
import type { Event } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import { Session, type SessionKind } from "./session-entity.ts";
import { type SignTokenParts, signToken } from "./sign-token.ts";
import { sweepSessions } from "./sweep-sessions.ts";

/** What a token is to be that somebody gets with a key. */
export interface AskedToken {
  /** Names and patterns. None: all that the key may do. */
  readonly permissions: readonly string[];
  /** Empty: the default one. */
  readonly audience: string;
  readonly lifetimeSeconds: number;
  /** Of the socket's other end. */
  readonly peerAddress: string;
}

/** For whom: a key itself, or a user on whose behalf it acts. */
export interface KeySubject {
  readonly kind: Exclude<SessionKind, "login">;
  readonly organizationId: string | undefined;
  readonly userId?: string;
}

/**
 * Begins what a token stands on, within a unit of work in which the key is held. It ends no later than the key and
 * the secret of it that was presented.
 *
 * @param decision about the key.
 * @throws AuthError API_KEY_EXPIRED, SERVICE_KEY_EXPIRED
 */
export async function beginKeySession(
  em: EntityManager,
  { principal, credential, secretId }: Decision,
  { kind, organizationId, userId }: KeySubject,
  asked: AskedToken,
): Promise<{ session: Session; event: Event }> {
  const isApiKey = kind === "api_key";
  const [{ now }] = await em.execute<[{ now: number }]>(
    "select extract(epoch from clock_timestamp())::float8 as now",
  );
  // Whole seconds, like the token's claims.
  const begin = Math.floor(now);
  const keyEnd = Math.floor(Number(credential.expireTime ?? Infinity) / 1000);
  const end = Math.min(begin + asked.lifetimeSeconds, keyEnd);
  if (end <= begin) {
    throw new AuthError(isApiKey ? "API_KEY_EXPIRED" : "SERVICE_KEY_EXPIRED");
  }
  const permissions = asked.permissions.length === 0 ? null : [...asked.permissions];
  const audience = asked.audience === "" ? null : asked.audience;
  const expireTime = new Date(end * 1000);
  const session = em.create(Session, {
    id: uuidv7(),
    kind,
    organizationId: organizationId ?? null,
    userId: userId ?? null,
    apiKeyId: isApiKey ? principal.id : null,
    serviceKeyId: isApiKey ? null : principal.id,
    secretId: secretId ?? null,
    permissions,
    audience,
    createTime: new Date(begin * 1000),
    expireTime,
    clientAddress: asked.peerAddress,
  });
  await em.flush();
  await sweepSessions(em);
  const after = { kind, keyId: principal.id, userId, permissions, audience, expireTime };
  const event = { organizationId, action: "session.create", targetId: session.id, detail: { after } };
  return { session, event };
}

/** Signs the token of a session that a key began: see signToken(). It names no role: it is not what a user is. */
export async function signKeyToken(
  em: EntityManager,
  parts: SignTokenParts,
  { principal }: Decision,
  { kind, organizationId, userId }: KeySubject,
  session: Session,
): Promise<string> {
  return await signToken(em, parts, {
    subject: userId ?? principal.id,
    sessionId: session.id,
    organizationId,
    issueTime: session.createTime,
    expireTime: session.expireTime,
    key: { id: principal.id, kind, audience: session.audience ?? "" },
  });
}
