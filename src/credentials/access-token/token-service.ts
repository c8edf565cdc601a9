import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../../authenticate/actor.ts";
import { AuthError } from "../../errors.ts";
import {
  type ApiKeyGrant,
  type DelegationGrant,
  type IssueTokenRequest,
  type IssueTokenResponse,
  IssueTokenResponseSchema,
  type ListSessionsRequest,
  type ListSessionsResponse,
  ListSessionsResponseSchema,
  type RevokeTokenRequest,
  type RevokeTokenResponse,
  RevokeTokenResponseSchema,
  SessionKind,
  type Session as SessionMessage,
  SessionSchema,
  type TokenService,
} from "../../gen/latchkey/v1/token_pb.ts";
import type { Pager } from "../../storage/page.ts";
import type { HeaderField } from "../credential-headers.ts";
import { lifetimeSecondsOf } from "../lifetime.ts";
import { type ApiKeyGrantParts, grantByApiKey } from "./api-key-grant.ts";
import { type BrowserSessions, CLEARED_COOKIE, refreshCookie } from "./browser-session.ts";
import { grantByDelegation } from "./delegation-grant.ts";
import { listSessions } from "./list-sessions.ts";
import { grantByPassword, type PasswordGrantParts } from "./password-grant.ts";
import type { ReadTokenParts } from "./read-token.ts";
import { grantByRefreshToken } from "./refresh-grant.ts";
import { findRefreshToken } from "./refresh-token.ts";
import { revokeSession, revokeSessionsOf } from "./revoke-session.ts";
import { revokeToken } from "./revoke-token.ts";
import type { Session } from "./session-entity.ts";
import type { IssuedToken } from "./sign-token.ts";

export interface TokenServiceParts extends PasswordGrantParts, ApiKeyGrantParts, ReadTokenParts {
  readonly pager: Pager;
  readonly browserSessions: BrowserSessions;
  readonly actorOf: (context: HandlerContext) => Actor;
  readonly peerAddressOf: (context: HandlerContext) => string;
  readonly rawHeadersOf: (context: HandlerContext) => readonly HeaderField[];
}

export class TokenServiceImpl implements ServiceImpl<typeof TokenService> {
  readonly #parts: TokenServiceParts;

  constructor(parts: TokenServiceParts) {
    this.#parts = parts;
  }

  async issueToken(request: IssueTokenRequest, context: HandlerContext): Promise<IssueTokenResponse> {
    const { browserSession } = request;
    if (browserSession) {
      this.#parts.browserSessions.requireOrigin(this.#parts.rawHeadersOf(context));
    }
    const { accessToken, expireTime, refresh, user } = await this.#issue(request, context);
    if (browserSession && refresh !== undefined) {
      context.responseHeader.append("set-cookie", refreshCookie(refresh));
    }
    return create(IssueTokenResponseSchema, {
      accessToken,
      tokenType: "Bearer",
      expireTime: timestampFromDate(expireTime),
      ...(refresh && {
        refreshToken: browserSession ? "" : refresh.token,
        refreshTokenExpireTime: timestampFromDate(refresh.expireTime),
      }),
      user,
    });
  }

  async #issue(request: IssueTokenRequest, context: HandlerContext): Promise<IssuedToken> {
    const { grant, organizationId, browserSession: browser } = request;
    const peerAddress = this.#parts.peerAddressOf(context);
    switch (grant.case) {
      case "password": {
        return await grantByPassword(this.#parts, { ...grant.value, organizationId, browser, peerAddress });
      }
      case "refreshToken": {
        const refreshToken = this.#refreshTokenOf(grant.value.refreshToken, browser, context);
        return await grantByRefreshToken(this.#parts, { refreshToken, organizationId, browser });
      }
      case "apiKey": {
        const { apiKey } = grant.value;
        const asked = { ...askedOf(grant.value), apiKey, organizationId, peerAddress };
        requireNoBrowser(browser);
        return await grantByApiKey(this.#parts, asked);
      }
      case "delegation": {
        const { userId } = grant.value;
        const asked = { ...askedOf(grant.value), userId, organizationId, peerAddress };
        requireNoBrowser(browser);
        return await grantByDelegation(this.#parts, this.#parts.actorOf(context), asked);
      }
      default:
        throw new AuthError("REQUEST_INVALID");
    }
  }

  #refreshTokenOf(sent: string, browser: boolean, context: HandlerContext): string {
    if (browser !== (sent === "")) {
      throw new AuthError("REQUEST_INVALID", {
        message: "Send a refresh token, or with browser_session none: it is in the cookie.",
      });
    }
    return browser ? this.#parts.browserSessions.readCookie(this.#parts.rawHeadersOf(context)) : sent;
  }

  async revokeToken(request: RevokeTokenRequest, context: HandlerContext): Promise<RevokeTokenResponse> {
    const cookie = this.#parts.browserSessions.readCookie(this.#parts.rawHeadersOf(context));
    const ended = await this.#revoke(request, cookie, context);
    if (cookie !== "" && (await this.#isOf(ended, cookie))) {
      context.responseHeader.append("set-cookie", CLEARED_COOKIE);
    }
    return create(RevokeTokenResponseSchema);
  }

  async #revoke(
    { target, organizationId }: RevokeTokenRequest,
    cookie: string,
    context: HandlerContext,
  ): Promise<readonly string[]> {
    const { storage } = this.#parts;
    switch (target.case) {
      case "sessionId": {
        const asked = { id: target.value, organizationId };
        return await revokeSession(storage, this.#parts.actorOf(context), asked);
      }
      case "userId": {
        const asked = { userId: target.value, organizationId };
        return await revokeSessionsOf(storage, this.#parts.actorOf(context), asked);
      }
      case "browserSession":
        this.#parts.browserSessions.requireOrigin(this.#parts.rawHeadersOf(context));
        requireNoOrganization(organizationId);
        return await revokeToken(this.#parts, cookie);
      default:
        requireNoOrganization(organizationId);
        return await revokeToken(this.#parts, target.value ?? "");
    }
  }

  async #isOf(sessionIds: readonly string[], refreshToken: string): Promise<boolean> {
    const known = await findRefreshToken(this.#parts, refreshToken);
    return known === undefined || sessionIds.includes(known.sessionId);
  }

  async listSessions(request: ListSessionsRequest, context: HandlerContext): Promise<ListSessionsResponse> {
    const page = await listSessions(this.#parts, this.#parts.actorOf(context), request);
    return create(ListSessionsResponseSchema, {
      sessions: page.rows.map(sessionMessage),
      nextPageToken: page.nextPageToken,
    });
  }
}

/** A key's token has nothing to be refreshed with. */
function requireNoBrowser(browser: boolean): void {
  if (browser) {
    throw new AuthError("REQUEST_INVALID", { message: "browser_session goes with a login." });
  }
}

/** A token has its session, wherever that is. */
function requireNoOrganization(organizationId: string): void {
  if (organizationId !== "") {
    throw new AuthError("REQUEST_INVALID", { message: "organization_id goes with session_id and user_id." });
  }
}

function sessionMessage(session: Session): SessionMessage {
  const { id, userId, organizationId, serviceKeyId, clientAddress } = session;
  return create(SessionSchema, {
    id,
    userId: userId ?? "",
    organizationId: organizationId ?? "",
    kind: kindOf(session),
    serviceKeyId: serviceKeyId ?? "",
    createTime: timestampFromDate(session.createTime),
    ...(session.refreshTime && { refreshTime: timestampFromDate(session.refreshTime) }),
    expireTime: timestampFromDate(session.expireTime),
    ...(session.idleExpireTime && { idleExpireTime: timestampFromDate(session.idleExpireTime) }),
    clientAddress,
  });
}

function kindOf({ kind, browser }: Session): SessionKind {
  if (kind !== "login") {
    return SessionKind.DELEGATION;
  }
  return browser ? SessionKind.BROWSER : SessionKind.LOGIN;
}

function askedOf({ permissions, audience, lifetime }: ApiKeyGrant | DelegationGrant) {
  return { permissions, audience, lifetimeSeconds: lifetimeSecondsOf(lifetime) };
}
