import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import type { KeyHasher } from "../key-digest.ts";
import { IDLE_SECONDS, SESSION_SECONDS } from "./lifetimes.ts";
import { insertRefreshToken } from "./refresh-token.ts";
import { Session } from "./session-entity.ts";
import { sweepSessions } from "./sweep-sessions.ts";

/** Whose session it is to be, and where it begins. */
export interface NewSession {
  readonly organizationId: string;
  readonly userId: string;
  /** Its refresh tokens travel in a cookie. */
  readonly browser: boolean;
  readonly clientAddress: string;
}

/** A session at the moment when a token is issued for it. */
export interface SessionMoment {
  readonly sessionId: string;
  readonly issueTime: Date;
  /** The end of the session. */
  readonly expireTime: Date;
  readonly refreshToken: string;
  readonly refreshTokenExpireTime: Date;
}

/** Begins a session that can be refreshed, within a unit of work. */
export async function beginSession(
  em: EntityManager,
  keyHasher: KeyHasher,
  asked: NewSession,
): Promise<SessionMoment> {
  const [{ now }] = await em.execute<[{ now: number }]>("select extract(epoch from now())::float8 as now");
  // Whole seconds, like the token's claims.
  const seconds = Math.floor(now);
  const after = (lifetime: number) => new Date((seconds + lifetime) * 1000);
  const session = em.create(Session, {
    ...asked,
    id: uuidv7(),
    createTime: after(0),
    expireTime: after(SESSION_SECONDS),
    idleExpireTime: after(IDLE_SECONDS),
  });
  await em.flush();
  const of = { id: session.id, organizationId: asked.organizationId };
  const refreshToken = await insertRefreshToken(em, keyHasher, of);
  await sweepSessions(em);
  return {
    sessionId: session.id,
    issueTime: session.createTime,
    expireTime: session.expireTime,
    refreshToken,
    refreshTokenExpireTime: after(IDLE_SECONDS),
  };
}
