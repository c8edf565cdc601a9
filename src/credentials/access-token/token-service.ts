import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  type IssueTokenRequest,
  type IssueTokenResponse,
  IssueTokenResponseSchema,
  type RevokeTokenRequest,
  type RevokeTokenResponse,
  RevokeTokenResponseSchema,
  type TokenService,
} from "../../gen/latchkey/v1/token_pb.ts";
import { grantByPassword, type PasswordGrantParts } from "./password-grant.ts";
import type { ReadTokenParts } from "./read-token.ts";
import { revokeToken } from "./revoke-token.ts";

export interface TokenServiceParts extends PasswordGrantParts, ReadTokenParts {
  readonly peerAddressOf: (context: HandlerContext) => string;
}

export class TokenServiceImpl implements ServiceImpl<typeof TokenService> {
  readonly #parts: TokenServiceParts;

  constructor(parts: TokenServiceParts) {
    this.#parts = parts;
  }

  async issueToken(request: IssueTokenRequest, context: HandlerContext): Promise<IssueTokenResponse> {
    const { email = "", password = "" } = request.grant.value ?? {};
    const { organizationId } = request;
    const peerAddress = this.#parts.peerAddressOf(context);
    const issued = await grantByPassword(this.#parts, { email, password, organizationId, peerAddress });
    return create(IssueTokenResponseSchema, {
      accessToken: issued.accessToken,
      tokenType: "Bearer",
      expireTime: timestampFromDate(issued.expireTime),
      user: issued.user,
    });
  }

  async revokeToken(request: RevokeTokenRequest): Promise<RevokeTokenResponse> {
    await revokeToken(this.#parts, request.target.value ?? "");
    return create(RevokeTokenResponseSchema);
  }
}
