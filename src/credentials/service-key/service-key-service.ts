import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../../authenticate/actor.ts";
import {
  type CreateServiceKeyRequest,
  type CreateServiceKeyResponse,
  CreateServiceKeyResponseSchema,
  type ListServiceKeysRequest,
  type ListServiceKeysResponse,
  ListServiceKeysResponseSchema,
  type RevokeServiceKeyRequest,
  type RevokeServiceKeyResponse,
  RevokeServiceKeyResponseSchema,
  type ServiceKey as ServiceKeyMessage,
  ServiceKeySchema,
  type ServiceKeyService,
} from "../../gen/latchkey/v1/service_key_pb.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Pager } from "../../storage/page.ts";
import { expireTimeOf } from "../expire-time.ts";
import type { KeyHasher } from "../key-digest.ts";
import { createServiceKey } from "./create-service-key.ts";
import { listServiceKeys, type ServiceKeyView } from "./read-service-keys.ts";
import { revokeServiceKey } from "./revoke-service-key.ts";

export interface ServiceKeyServiceParts {
  readonly storage: Storage;
  readonly pager: Pager;
  readonly keyHasher: KeyHasher;
  readonly actorOf: (context: HandlerContext) => Actor;
}

export class ServiceKeyServiceImpl implements ServiceImpl<typeof ServiceKeyService> {
  readonly #parts: ServiceKeyServiceParts;

  constructor(parts: ServiceKeyServiceParts) {
    this.#parts = parts;
  }

  async createServiceKey(
    request: CreateServiceKeyRequest,
    context: HandlerContext,
  ): Promise<CreateServiceKeyResponse> {
    const asked = { ...request, expireTime: expireTimeOf(request.expireTime) };
    const { serviceKey, secret } = await createServiceKey(this.#parts, this.#parts.actorOf(context), asked);
    return create(CreateServiceKeyResponseSchema, { serviceKey: serviceKeyMessage(serviceKey), secret });
  }

  async listServiceKeys(request: ListServiceKeysRequest): Promise<ListServiceKeysResponse> {
    const page = await listServiceKeys(this.#parts, request);
    return create(ListServiceKeysResponseSchema, {
      serviceKeys: page.rows.map(serviceKeyMessage),
      nextPageToken: page.nextPageToken,
    });
  }

  async revokeServiceKey(
    request: RevokeServiceKeyRequest,
    context: HandlerContext,
  ): Promise<RevokeServiceKeyResponse> {
    const serviceKey = await revokeServiceKey(this.#parts.storage, this.#parts.actorOf(context), request);
    return create(RevokeServiceKeyResponseSchema, { serviceKey: serviceKeyMessage(serviceKey) });
  }
}

function serviceKeyMessage({ key, displayPrefix }: ServiceKeyView): ServiceKeyMessage {
  return create(ServiceKeySchema, {
    id: key.id,
    name: key.name,
    permissions: key.permissions,
    allowedCidrs: key.allowedCidrs,
    createTime: timestampFromDate(key.createTime),
    ...(key.expireTime && { expireTime: timestampFromDate(key.expireTime) }),
    ...(key.revokeTime && { revokeTime: timestampFromDate(key.revokeTime) }),
    revokeReason: key.revokeReason ?? "",
    displayPrefix,
  });
}
