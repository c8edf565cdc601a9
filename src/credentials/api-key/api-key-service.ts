import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../../authenticate/actor.ts";
import {
  type ApiKey as ApiKeyMessage,
  ApiKeySchema,
  type ApiKeyService,
  type CreateApiKeyRequest,
  type CreateApiKeyResponse,
  CreateApiKeyResponseSchema,
  type GetApiKeyRequest,
  type GetApiKeyResponse,
  GetApiKeyResponseSchema,
  type ListApiKeysRequest,
  type ListApiKeysResponse,
  ListApiKeysResponseSchema,
  type RevokeApiKeyRequest,
  type RevokeApiKeyResponse,
  RevokeApiKeyResponseSchema,
} from "../../gen/latchkey/v1/api_key_pb.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Pager } from "../../storage/page.ts";
import { expireTimeOf } from "../expire-time.ts";
import type { KeyHasher } from "../key-digest.ts";
import type { ApiKeyView } from "./api-key-view.ts";
import { createApiKey } from "./create-api-key.ts";
import { getApiKey, listApiKeys } from "./read-api-keys.ts";
import { revokeApiKey } from "./revoke-api-key.ts";

export interface ApiKeyServiceParts {
  readonly storage: Storage;
  readonly pager: Pager;
  readonly keyHasher: KeyHasher;
  /** What new keys begin with. */
  readonly prefix: string;
  readonly actorOf: (context: HandlerContext) => Actor;
}

export class ApiKeyServiceImpl implements ServiceImpl<typeof ApiKeyService> {
  readonly #parts: ApiKeyServiceParts;

  constructor(parts: ApiKeyServiceParts) {
    this.#parts = parts;
  }

  async createApiKey(request: CreateApiKeyRequest, context: HandlerContext): Promise<CreateApiKeyResponse> {
    const asked = { ...request, expireTime: expireTimeOf(request.expireTime) };
    const { apiKey, secret } = await createApiKey(this.#parts, this.#parts.actorOf(context), asked);
    return create(CreateApiKeyResponseSchema, { apiKey: apiKeyMessage(apiKey), secret });
  }

  async getApiKey(request: GetApiKeyRequest, context: HandlerContext): Promise<GetApiKeyResponse> {
    const apiKey = await getApiKey(this.#parts.storage, this.#parts.actorOf(context), request.id);
    return create(GetApiKeyResponseSchema, { apiKey: apiKeyMessage(apiKey) });
  }

  async listApiKeys(request: ListApiKeysRequest, context: HandlerContext): Promise<ListApiKeysResponse> {
    const page = await listApiKeys(this.#parts, this.#parts.actorOf(context), request);
    return create(ListApiKeysResponseSchema, {
      apiKeys: page.rows.map(apiKeyMessage),
      nextPageToken: page.nextPageToken,
    });
  }

  async revokeApiKey(request: RevokeApiKeyRequest, context: HandlerContext): Promise<RevokeApiKeyResponse> {
    const apiKey = await revokeApiKey(this.#parts.storage, this.#parts.actorOf(context), request);
    return create(RevokeApiKeyResponseSchema, { apiKey: apiKeyMessage(apiKey) });
  }
}

function apiKeyMessage({ key, displayPrefix }: ApiKeyView): ApiKeyMessage {
  return create(ApiKeySchema, {
    id: key.id,
    organizationId: key.organizationId,
    name: key.name,
    permissions: key.permissions,
    environment: key.environment,
    allowedCidrs: key.allowedCidrs,
    createTime: timestampFromDate(key.createTime),
    ...(key.expireTime && { expireTime: timestampFromDate(key.expireTime) }),
    ...(key.revokeTime && { revokeTime: timestampFromDate(key.revokeTime) }),
    revokeReason: key.revokeReason ?? "",
    displayPrefix,
    creatorId: key.creatorId,
  });
}
