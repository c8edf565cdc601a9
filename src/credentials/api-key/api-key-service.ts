import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../../authenticate/actor.ts";
import type { Idempotently } from "../../changes/idempotent-service.ts";
import {
  type ApiKey as ApiKeyMessage,
  ApiKeySchema,
  type ApiKeyService,
  ApiKeyState,
  type CancelRotationRequest,
  type CancelRotationResponse,
  CancelRotationResponseSchema,
  type CreateApiKeyRequest,
  type CreateApiKeyResponse,
  CreateApiKeyResponseSchema,
  type FinishRotationRequest,
  type FinishRotationResponse,
  FinishRotationResponseSchema,
  type GetApiKeyRequest,
  type GetApiKeyResponse,
  GetApiKeyResponseSchema,
  type GetApiKeyUsageRequest,
  type GetApiKeyUsageResponse,
  GetApiKeyUsageResponseSchema,
  type ImportApiKeysRequest,
  type ImportApiKeysResponse,
  type ListApiKeysRequest,
  type ListApiKeysResponse,
  ListApiKeysResponseSchema,
  type RevokeApiKeyRequest,
  type RevokeApiKeyResponse,
  RevokeApiKeyResponseSchema,
  type RevokeOwnApiKeyRequest,
  type RevokeOwnApiKeyResponse,
  RevokeOwnApiKeyResponseSchema,
  type RotateApiKeyRequest,
  type RotateApiKeyResponse,
  RotateApiKeyResponseSchema,
  type UpdateApiKeyRequest,
  type UpdateApiKeyResponse,
  UpdateApiKeyResponseSchema,
} from "../../gen/latchkey/v1/api_key_pb.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Pager } from "../../storage/page.ts";
import { expireTimeOf } from "../expire-time.ts";
import type { ImportApiKeysParts } from "../imported-key/import-api-keys.ts";
import { importApiKeysCall } from "../imported-key/import-service.ts";
import { dailyUsageMessage, daysOf, slotMessage } from "../key-messages-service.ts";
import { overlapMillisOf } from "../overlap.ts";
import { rateLimitOf } from "../rate-limit.ts";
import { cancelRotation, finishRotation, rotateKey } from "../rotate-key.ts";
import { type ApiKeyKindParts, apiKeyKind } from "./api-key-kind.ts";
import type { ApiKeyView } from "./api-key-view.ts";
import { createApiKey } from "./create-api-key.ts";
import type { FindApiKeyParts } from "./find-api-key.ts";
import { type ApiKeyFilter, getApiKey, getApiKeyUsage, listApiKeys } from "./read-api-keys.ts";
import { revokeApiKey } from "./revoke-api-key.ts";
import { revokeOwnApiKey } from "./revoke-own-api-key.ts";
import { updateApiKey } from "./update-api-key.ts";

export interface ApiKeyServiceParts extends ApiKeyKindParts, FindApiKeyParts, ImportApiKeysParts {
  readonly storage: Storage;
  readonly pager: Pager;
  readonly actorOf: (context: HandlerContext) => Actor;
  readonly idempotently: Idempotently;
}

export class ApiKeyServiceImpl implements ServiceImpl<typeof ApiKeyService> {
  readonly #parts: ApiKeyServiceParts;

  constructor(parts: ApiKeyServiceParts) {
    this.#parts = parts;
  }

  async createApiKey(request: CreateApiKeyRequest, context: HandlerContext): Promise<CreateApiKeyResponse> {
    const actor = this.#parts.actorOf(context);
    const asked = {
      ...request,
      expireTime: expireTimeOf(request.expireTime),
      metadata: request.metadata?.entries ?? {},
      rateLimit: request.rateLimit && plainLimit(request.rateLimit),
    };
    return await this.#parts.idempotently(context, request, CreateApiKeyResponseSchema, async (storage) => {
      const { apiKey, secret } = await createApiKey({ ...this.#parts, storage }, actor, asked);
      return create(CreateApiKeyResponseSchema, { apiKey: apiKeyMessage(apiKey), secret });
    });
  }

  async getApiKey(request: GetApiKeyRequest, context: HandlerContext): Promise<GetApiKeyResponse> {
    const apiKey = await getApiKey(this.#parts.storage, this.#parts.actorOf(context), request.id);
    return create(GetApiKeyResponseSchema, { apiKey: apiKeyMessage(apiKey) });
  }

  async listApiKeys(request: ListApiKeysRequest, context: HandlerContext): Promise<ListApiKeysResponse> {
    const asked = { ...request, state: stateOf(request.state) };
    const page = await listApiKeys(this.#parts, this.#parts.actorOf(context), asked);
    return create(ListApiKeysResponseSchema, {
      apiKeys: page.rows.map(apiKeyMessage),
      nextPageToken: page.nextPageToken,
    });
  }

  async revokeApiKey(request: RevokeApiKeyRequest, context: HandlerContext): Promise<RevokeApiKeyResponse> {
    const apiKey = await revokeApiKey(this.#parts.storage, this.#parts.actorOf(context), request);
    return create(RevokeApiKeyResponseSchema, { apiKey: apiKeyMessage(apiKey) });
  }

  async updateApiKey(request: UpdateApiKeyRequest, context: HandlerContext): Promise<UpdateApiKeyResponse> {
    const { expiry, limit } = request;
    const apiKey = await updateApiKey(this.#parts, this.#parts.actorOf(context), {
      id: request.id,
      name: request.name,
      permissions: request.permissions?.values,
      expireTime: expiry.case === "neverExpires" ? "never" : expireTimeOf(expiry.value),
      allowedCidrs: request.allowedCidrs?.values,
      metadata: request.metadata?.entries,
      rateLimit: limit.case === "unlimited" ? "unlimited" : limit.value && plainLimit(limit.value),
    });
    return create(UpdateApiKeyResponseSchema, { apiKey: apiKeyMessage(apiKey) });
  }

  async rotateApiKey(request: RotateApiKeyRequest, context: HandlerContext): Promise<RotateApiKeyResponse> {
    const { storage, actorOf } = this.#parts;
    const asked = { id: request.id, overlapMillis: overlapMillisOf(request.overlap) };
    const { view, secret } = await rotateKey(apiKeyKind(this.#parts), storage, actorOf(context), asked);
    return create(RotateApiKeyResponseSchema, { apiKey: apiKeyMessage(view), secret });
  }

  async cancelRotation(
    request: CancelRotationRequest,
    context: HandlerContext,
  ): Promise<CancelRotationResponse> {
    const { storage, actorOf } = this.#parts;
    const apiKey = await cancelRotation(apiKeyKind(this.#parts), storage, actorOf(context), request.id);
    return create(CancelRotationResponseSchema, { apiKey: apiKeyMessage(apiKey) });
  }

  async finishRotation(
    request: FinishRotationRequest,
    context: HandlerContext,
  ): Promise<FinishRotationResponse> {
    const { storage, actorOf } = this.#parts;
    const apiKey = await finishRotation(apiKeyKind(this.#parts), storage, actorOf(context), request.id);
    return create(FinishRotationResponseSchema, { apiKey: apiKeyMessage(apiKey) });
  }

  async revokeOwnApiKey({ apiKey, reason }: RevokeOwnApiKeyRequest): Promise<RevokeOwnApiKeyResponse> {
    await revokeOwnApiKey(this.#parts, { text: apiKey, reason });
    return create(RevokeOwnApiKeyResponseSchema);
  }

  async importApiKeys(
    request: ImportApiKeysRequest,
    context: HandlerContext,
  ): Promise<ImportApiKeysResponse> {
    return await importApiKeysCall(this.#parts, this.#parts.actorOf(context), request);
  }

  async getApiKeyUsage(
    request: GetApiKeyUsageRequest,
    context: HandlerContext,
  ): Promise<GetApiKeyUsageResponse> {
    const asked = { id: request.id, days: daysOf(request) };
    const { days, view } = await getApiKeyUsage(this.#parts.storage, this.#parts.actorOf(context), asked);
    return create(GetApiKeyUsageResponseSchema, {
      days: days.map(dailyUsageMessage),
      slots: view.slots.map(slotMessage),
    });
  }
}

function apiKeyMessage({ key, slots }: ApiKeyView): ApiKeyMessage {
  const rateLimit = rateLimitOf(key.rateLimitRequests, key.rateLimitWindowSeconds);
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
    displayPrefix: slots[0]?.displayPrefix ?? "",
    creatorId: key.creatorId,
    ownerId: key.ownerUserId ?? key.ownerServiceKeyId ?? "",
    metadata: { ...key.metadata },
    ...(rateLimit && { rateLimit }),
    slots: slots.map(slotMessage),
    imported: key.imported,
  });
}

function plainLimit({ requests, windowSeconds }: { requests: number; windowSeconds: number }) {
  return { requests, windowSeconds };
}

function stateOf(state: ApiKeyState): ApiKeyFilter["state"] {
  switch (state) {
    case ApiKeyState.ACTIVE:
      return "active";
    case ApiKeyState.EXPIRED:
      return "expired";
    case ApiKeyState.REVOKED:
      return "revoked";
    default:
      return undefined;
  }
}
