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
  type RevokeTokenRequest,
  type RevokeTokenResponse,
  RevokeTokenResponseSchema,
  type TokenService,
} from "../../gen/latchkey/v1/token_pb.ts";
import { lifetimeSecondsOf } from "../lifetime.ts";
import { type ApiKeyGrantParts, grantByApiKey } from "./api-key-grant.ts";
import { grantByDelegation } from "./delegation-grant.ts";
import type { AskedToken } from "./key-session.ts";
import { grantByPassword, type PasswordGrantParts } from "./password-grant.ts";
import type { ReadTokenParts } from "./read-token.ts";
import { revokeToken } from "./revoke-token.ts";
import type { IssuedToken } from "./sign-token.ts";

export interface TokenServiceParts extends PasswordGrantParts, ApiKeyGrantParts, ReadTokenParts {
  readonly actorOf: (context: HandlerContext) => Actor;
  readonly peerAddressOf: (context: HandlerContext) => string;
}

export class TokenServiceImpl implements ServiceImpl<typeof TokenService> {
  readonly #parts: TokenServiceParts;

  constructor(parts: TokenServiceParts) {
    this.#parts = parts;
  }

  async issueToken(request: IssueTokenRequest, context: HandlerContext): Promise<IssueTokenResponse> {
    const issued = await this.#issue(request, context);
    return create(IssueTokenResponseSchema, {
      accessToken: issued.accessToken,
      tokenType: "Bearer",
      expireTime: timestampFromDate(issued.expireTime),
      user: issued.user,
    });
  }

  async #issue({ grant, organizationId }: IssueTokenRequest, context: HandlerContext): Promise<IssuedToken> {
    const peerAddress = this.#parts.peerAddressOf(context);
    switch (grant.case) {
      case "password": {
        const { email, password } = grant.value;
        return await grantByPassword(this.#parts, { email, password, organizationId, peerAddress });
      }
      case "apiKey": {
        const { apiKey } = grant.value;
        const asked = { ...askedOf(grant.value), apiKey, organizationId, peerAddress };
        return await grantByApiKey(this.#parts, asked);
      }
      case "delegation": {
        const { userId } = grant.value;
        const asked = { ...askedOf(grant.value), userId, organizationId };
        return await grantByDelegation(this.#parts, this.#parts.actorOf(context), asked);
      }
      default:
        throw new AuthError("REQUEST_INVALID");
    }
  }

  async revokeToken(request: RevokeTokenRequest): Promise<RevokeTokenResponse> {
    await revokeToken(this.#parts, request.target.value ?? "");
    return create(RevokeTokenResponseSchema);
  }
}

function askedOf({ permissions, audience, lifetime }: ApiKeyGrant | DelegationGrant): AskedToken {
  return { permissions, audience, lifetimeSeconds: lifetimeSecondsOf(lifetime) };
}
