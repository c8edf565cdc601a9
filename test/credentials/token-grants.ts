import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import type { ApiKeyGrantSchema, DelegationGrantSchema } from "../../src/gen/latchkey/v1/token_pb.ts";
import type { Headers } from "../access/actors.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService, type TestService, TokenService } from "../support/service.ts";

// Tokens that are got with keys.

/** What a message is made from, and no message. */
type Init<Schema extends DescMessage> = Extract<MessageInitShape<Schema>, { $typeName?: never }>;

export interface More {
  readonly organizationId?: string;
  readonly browserSession?: boolean;
}

export const exchange = (
  service: TestService,
  value: Init<typeof ApiKeyGrantSchema>,
  { headers = {}, ...more }: More & { readonly headers?: Headers } = {},
) => service.client(TokenService, headers).issueToken({ grant: { case: "apiKey", value }, ...more });

/** @returns the token of an API key. */
export const tokenOf = async (
  service: TestService,
  apiKey: string,
  more: Omit<Init<typeof ApiKeyGrantSchema>, "apiKey"> = {},
): Promise<string> => (await exchange(service, { apiKey, ...more })).accessToken;

export const delegate = (
  service: TestService,
  headers: Headers,
  value: Init<typeof DelegationGrantSchema>,
  more: More = {},
) => service.client(TokenService, headers).issueToken({ grant: { case: "delegation", value }, ...more });

/** What else Authenticate is asked. */
export interface Asked {
  readonly audience?: string;
  readonly clientAddress?: string;
  readonly organizationId?: string;
}

/** What a service decides about these headers. */
export const decide = (service: TestService, headers: Headers, asked: Asked = {}) =>
  service.client(AuthenticationService).authenticate({
    headers: Object.entries(headers).map(([name, value]) => ({ name, value })),
    ...asked,
  });

export const refusalOf = (service: TestService, headers: Headers, asked: Asked = {}) =>
  reasonOf(decide(service, headers, asked));
