import assert from "node:assert/strict";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { addUser, type Password, type UserToAdd } from "../access/cast.ts";
import { readParts } from "../support/forge-token.ts";
import { AuthenticationService, type TestService, TokenService } from "../support/service.ts";

export type Headers = Readonly<Record<string, string>>;

/** What a login or a refresh gave. */
export interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string;
  /** Of the access token. */
  readonly expireTime: Date;
  readonly refreshTokenExpireTime: Date;
  readonly sessionId: string;
  readonly headers: Headers;
}

/** Somebody who has logged in. */
export interface LoggedIn extends Tokens {
  readonly id: string;
  readonly email: string;
}

export async function logIn(
  service: TestService,
  login: { readonly email: string; readonly password: string },
  organizationId = "",
): Promise<Tokens> {
  const grant = { case: "password", value: login } as const;
  return tokensOf(await service.client(TokenService).issueToken({ grant, organizationId }));
}

export async function addLoggedIn(
  service: TestService,
  password: Password,
  asked: Partial<UserToAdd> = {},
): Promise<LoggedIn> {
  const { organizationId = service.organizationId } = asked;
  const user = await addUser(service.core, { role: "member", password, ...asked, organizationId });
  return {
    ...user,
    ...(await logIn(service, { email: user.email, password: password.text }, organizationId)),
  };
}

export async function refresh(
  service: TestService,
  refreshToken: string,
  more: object = {},
): Promise<Tokens> {
  const grant = { case: "refreshToken", value: { refreshToken } } as const;
  return tokensOf(await service.client(TokenService).issueToken({ grant, ...more }));
}

export async function whoAmI(service: TestService, { headers }: Pick<Tokens, "headers">) {
  return await service.client(AuthenticationService, headers).whoAmI({});
}

type Answer = Awaited<ReturnType<ReturnType<typeof clientOf>["issueToken"]>>;
const clientOf = (service: TestService) => service.client(TokenService);

function tokensOf({ accessToken, refreshToken, expireTime, refreshTokenExpireTime }: Answer): Tokens {
  assert.ok(expireTime && refreshTokenExpireTime);
  return {
    accessToken,
    refreshToken,
    expireTime: timestampDate(expireTime),
    refreshTokenExpireTime: timestampDate(refreshTokenExpireTime),
    sessionId: String(readParts(accessToken).payload["sid"]),
    headers: { authorization: `Bearer ${accessToken}` },
  };
}
