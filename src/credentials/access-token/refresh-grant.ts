import type { EntityManager } from "@mikro-orm/postgresql";
import { type Mutation, mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { IS_ACTIVE_MEMBER } from "../../users/membership-entity.ts";
import type { KeyHasher } from "../key-digest.ts";
import { mintKey } from "../secret-key.ts";
import type { SessionMoment } from "./begin-session.ts";
import { issueToken } from "./issue-token.ts";
import { IDLE_SECONDS } from "./lifetimes.ts";
import {
  findRefreshToken,
  insertRefreshToken,
  type KnownRefreshToken,
  openSuccessor,
  REFRESH_TOKEN_PREFIX,
  sealSuccessor,
} from "./refresh-token.ts";
import type { IssuedToken, SignTokenParts } from "./sign-token.ts";
import { RETRY, sweepSessions } from "./sweep-sessions.ts";

/**
 * Every used token of a session is remembered until it ends, or a thief could make us forget the one that would
 * give them away. So a session has an end in refreshes too: one every eight minutes.
 */
const MOST_REFRESHES = 5_000;

export interface RefreshGrantParts extends SignTokenParts {
  readonly storage: Storage;
  readonly keyHasher: KeyHasher;
}

export interface Refresh {
  readonly refreshToken: string;
  /** The token came in a cookie. */
  readonly browser: boolean;
  /** Empty: the session's. */
  readonly organizationId: string;
}

/** What is true of a session and of the token that was presented, once nobody else can change it. */
interface RefreshState {
  organization_id: string;
  email: string;
  role: string;
  active: boolean;
  suspended: boolean;
  revoked: boolean;
  ended: boolean;
  /** Seconds since 1970, as all times here. */
  expire_time: number;
  idle_expire_time: number;
  refresh_count: number;
  used: boolean;
  is_retry: boolean;
  sealed_successor: Buffer | null;
  now: number;
}

// The session is locked: what has an end is compared with the time now, not with that of the transaction. What was
// begun with a one-time password goes on no longer than that.
const STATE = `
  select s.organization_id, u.email, r.name as role, ${IS_ACTIVE_MEMBER} as active,
    o.suspend_time is not null as suspended,
    s.revoke_time is not null as revoked,
    least(s.expire_time, s.idle_expire_time, u.password_expire_time) <= clock_timestamp() as ended,
    extract(epoch from s.expire_time)::float8 as expire_time,
    extract(epoch from s.idle_expire_time)::float8 as idle_expire_time, s.refresh_count,
    t.use_time is not null as used,
    t.sealed_successor is not null and t.use_time + ${RETRY} > clock_timestamp() as is_retry,
    t.sealed_successor,
    extract(epoch from clock_timestamp())::float8 as now
  from refresh_tokens t
  join sessions s on s.id = t.session_id
  join users u on u.id = s.user_id
  join memberships m on m.organization_id = s.organization_id and m.user_id = s.user_id
  join roles r on r.organization_id = m.organization_id and r.id = m.role_id
  join organizations o on o.id = s.organization_id
  where t.lookup_id = ?`;

type Outcome = { readonly moment: SessionMoment; readonly state: RefreshState } | "reused";

/**
 * Issues the next access token of a session, and the next refresh token (RFC 9700 section 2.2.2): each is used
 * once. Within 10 seconds, and until the next one is used, whoever presents it again is told the same next one,
 * since the first answer may have been lost. Whoever does later has stolen it or was stolen from: the session ends,
 * which is committed before they are told.
 *
 * A refusal that has an end, such as a suspension, does not use the token up.
 *
 * @throws AuthError REFRESH_TOKEN_INVALID, REFRESH_TOKEN_EXPIRED, REFRESH_TOKEN_REUSED, TOKEN_REVOKED,
 * USER_DISABLED, ORGANIZATION_SUSPENDED, ORGANIZATION_MISMATCH
 */
export async function grantByRefreshToken(parts: RefreshGrantParts, asked: Refresh): Promise<IssuedToken> {
  const { storage } = parts;
  const known = await findRefreshToken(parts, asked.refreshToken);
  // What belongs in a cookie is good for nothing elsewhere, and the other way round.
  if (known === undefined || known.browser !== asked.browser) {
    throw new AuthError("REFRESH_TOKEN_INVALID");
  }
  const { userId } = known;
  const outcome = await mutate(storage, { type: "user", id: userId }, (em) =>
    refresh(em, parts.keyHasher, known, asked),
  );
  if (outcome === "reused") {
    throw new AuthError("REFRESH_TOKEN_REUSED");
  }
  const { moment, state } = outcome;
  const { organization_id: organizationId, email, role } = state;
  return await issueToken(parts, moment, { userId, email, organizationId, role });
}

async function refresh(
  em: EntityManager,
  keyHasher: KeyHasher,
  { lookupId, sessionId, userId }: KnownRefreshToken,
  asked: Refresh,
): Promise<Mutation<Outcome>> {
  // Whoever revokes it, disables its user or changes their password waits, or has come first.
  await em.execute("select from sessions where id = ? for update", [sessionId]);
  const [state] = await em.execute<RefreshState[]>(STATE, [lookupId]);
  if (state === undefined) {
    throw new AuthError("REFRESH_TOKEN_INVALID");
  }
  const { organization_id: organizationId } = state;
  if (!state.active) {
    throw new AuthError("USER_DISABLED");
  }
  if (state.revoked) {
    throw new AuthError("TOKEN_REVOKED");
  }
  if (state.ended) {
    throw new AuthError("REFRESH_TOKEN_EXPIRED");
  }
  if (state.used && !state.is_retry) {
    await em.execute("update sessions set revoke_time = now() where id = ?", [sessionId]);
    await forgetSuccessors(em, sessionId);
    const detail = { userId, reason: "REFRESH_TOKEN_REUSED" };
    const event = { organizationId, action: "session.revoke", targetId: sessionId, detail };
    return { result: "reused", event, tags: [`session:${sessionId}`] };
  }
  if (state.suspended) {
    throw new AuthError("ORGANIZATION_SUSPENDED");
  }
  if (asked.organizationId !== "" && asked.organizationId !== organizationId) {
    throw new AuthError("ORGANIZATION_MISMATCH");
  }
  // Whole seconds, like the token's claims.
  const seconds = Math.floor(state.now);
  const expireTime = dateOf(state.expire_time);
  const moment = { sessionId, issueTime: dateOf(seconds), expireTime };
  if (state.used && state.sealed_successor !== null) {
    const refreshToken = openSuccessor(asked.refreshToken, state.sealed_successor);
    const refreshTokenExpireTime = dateOf(state.idle_expire_time);
    return {
      result: { moment: { ...moment, refreshToken, refreshTokenExpireTime }, state },
      unchanged: true,
    };
  }
  if (state.refresh_count >= MOST_REFRESHES) {
    throw new AuthError("REFRESH_TOKEN_EXPIRED");
  }
  const refreshTokenExpireTime = dateOf(Math.min(seconds + IDLE_SECONDS, state.expire_time));
  const refreshToken = await rotate(em, keyHasher, {
    lookupId,
    sessionId,
    organizationId,
    text: asked.refreshToken,
  });
  await em.execute(
    `update sessions set refresh_time = clock_timestamp(), refresh_count = refresh_count + 1, idle_expire_time = ?
    where id = ?`,
    [refreshTokenExpireTime, sessionId],
  );
  await sweepSessions(em);
  return {
    result: { moment: { ...moment, refreshToken, refreshTokenExpireTime }, state },
    event: { organizationId, action: "session.refresh", targetId: sessionId, detail: { userId } },
    // Nothing that is cached depends on when it was refreshed.
    tags: [],
  };
}

async function rotate(
  em: EntityManager,
  keyHasher: KeyHasher,
  used: {
    readonly lookupId: string;
    readonly sessionId: string;
    readonly organizationId: string;
    readonly text: string;
  },
): Promise<string> {
  const successor = mintKey(REFRESH_TOKEN_PREFIX);
  // Nobody is told this one again: it was used.
  await forgetSuccessors(em, used.sessionId);
  await em.execute(
    "update refresh_tokens set use_time = clock_timestamp(), sealed_successor = ? where lookup_id = ?",
    [sealSuccessor(used.text, successor.text), used.lookupId],
  );
  const { sessionId: id, organizationId } = used;
  return await insertRefreshToken(em, keyHasher, { id, organizationId }, successor);
}

async function forgetSuccessors(em: EntityManager, sessionId: string): Promise<void> {
  await em.execute(
    "update refresh_tokens set sealed_successor = null where session_id = ? and sealed_successor is not null",
    [sessionId],
  );
}

function dateOf(seconds: number): Date {
  return new Date(seconds * 1000);
}
