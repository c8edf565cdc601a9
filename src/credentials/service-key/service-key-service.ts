import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../../authenticate/actor.ts";
import type { Idempotently } from "../../changes/idempotent-service.ts";
import {
  type CancelServiceKeyRotationRequest,
  type CancelServiceKeyRotationResponse,
  CancelServiceKeyRotationResponseSchema,
  type CreateServiceKeyRequest,
  type CreateServiceKeyResponse,
  CreateServiceKeyResponseSchema,
  type FinishServiceKeyRotationRequest,
  type FinishServiceKeyRotationResponse,
  FinishServiceKeyRotationResponseSchema,
  type GetServiceKeyRequest,
  type GetServiceKeyResponse,
  GetServiceKeyResponseSchema,
  type GetServiceKeyUsageRequest,
  type GetServiceKeyUsageResponse,
  GetServiceKeyUsageResponseSchema,
  type ListServiceKeysRequest,
  type ListServiceKeysResponse,
  ListServiceKeysResponseSchema,
  type RevokeServiceKeyRequest,
  type RevokeServiceKeyResponse,
  RevokeServiceKeyResponseSchema,
  type RotateServiceKeyRequest,
  type RotateServiceKeyResponse,
  RotateServiceKeyResponseSchema,
  type ServiceKey as ServiceKeyMessage,
  ServiceKeySchema,
  type ServiceKeyService,
  type UpdateServiceKeyRequest,
  type UpdateServiceKeyResponse,
  UpdateServiceKeyResponseSchema,
} from "../../gen/latchkey/v1/service_key_pb.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Pager } from "../../storage/page.ts";
import { expireTimeOf } from "../expire-time.ts";
import type { KeyHasher } from "../key-digest.ts";
import { dailyUsageMessage, daysOf, slotMessage } from "../key-messages-service.ts";
import { overlapMillisOf } from "../overlap.ts";
import { cancelRotation, finishRotation, rotateKey } from "../rotate-key.ts";
import { createServiceKey } from "./create-service-key.ts";
import {
  getServiceKey,
  getServiceKeyUsage,
  listServiceKeys,
  type ServiceKeyView,
} from "./read-service-keys.ts";
import { revokeServiceKey } from "./revoke-service-key.ts";
import { serviceKeyKind } from "./service-key-kind.ts";
import { updateServiceKey } from "./update-service-key.ts";

export interface ServiceKeyServiceParts {
  readonly storage: Storage;
  readonly pager: Pager;
  readonly keyHasher: KeyHasher;
  readonly actorOf: (context: HandlerContext) => Actor;
  readonly idempotently: Idempotently;
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
    const actor = this.#parts.actorOf(context);
    const asked = { ...request, expireTime: expireTimeOf(request.expireTime) };
    return await this.#parts.idempotently(
      context,
      request,
      CreateServiceKeyResponseSchema,
      async (storage) => {
        const { serviceKey, secret } = await createServiceKey({ ...this.#parts, storage }, actor, asked);
        return create(CreateServiceKeyResponseSchema, { serviceKey: serviceKeyMessage(serviceKey), secret });
      },
    );
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

  async getServiceKey({ id }: GetServiceKeyRequest): Promise<GetServiceKeyResponse> {
    const serviceKey = await getServiceKey(this.#parts.storage, id);
    return create(GetServiceKeyResponseSchema, { serviceKey: serviceKeyMessage(serviceKey) });
  }

  async updateServiceKey(
    { id, permissions, expiry, allowedCidrs }: UpdateServiceKeyRequest,
    context: HandlerContext,
  ): Promise<UpdateServiceKeyResponse> {
    const serviceKey = await updateServiceKey(this.#parts, this.#parts.actorOf(context), {
      id,
      permissions: permissions?.values,
      expireTime: expiry.case === "neverExpires" ? "never" : expireTimeOf(expiry.value),
      allowedCidrs: allowedCidrs?.values,
    });
    return create(UpdateServiceKeyResponseSchema, { serviceKey: serviceKeyMessage(serviceKey) });
  }

  async rotateServiceKey(
    { id, overlap }: RotateServiceKeyRequest,
    context: HandlerContext,
  ): Promise<RotateServiceKeyResponse> {
    const { storage, keyHasher, actorOf } = this.#parts;
    const asked = { id, overlapMillis: overlapMillisOf(overlap) };
    const { view, secret } = await rotateKey(serviceKeyKind(keyHasher), storage, actorOf(context), asked);
    return create(RotateServiceKeyResponseSchema, { serviceKey: serviceKeyMessage(view), secret });
  }

  async cancelServiceKeyRotation(
    { id }: CancelServiceKeyRotationRequest,
    context: HandlerContext,
  ): Promise<CancelServiceKeyRotationResponse> {
    const { storage, keyHasher, actorOf } = this.#parts;
    const view = await cancelRotation(serviceKeyKind(keyHasher), storage, actorOf(context), id);
    return create(CancelServiceKeyRotationResponseSchema, { serviceKey: serviceKeyMessage(view) });
  }

  async finishServiceKeyRotation(
    { id }: FinishServiceKeyRotationRequest,
    context: HandlerContext,
  ): Promise<FinishServiceKeyRotationResponse> {
    const { storage, keyHasher, actorOf } = this.#parts;
    const view = await finishRotation(serviceKeyKind(keyHasher), storage, actorOf(context), id);
    return create(FinishServiceKeyRotationResponseSchema, { serviceKey: serviceKeyMessage(view) });
  }

  async getServiceKeyUsage(request: GetServiceKeyUsageRequest): Promise<GetServiceKeyUsageResponse> {
    const asked = { id: request.id, days: daysOf(request) };
    const { days, view } = await getServiceKeyUsage(this.#parts.storage, asked);
    return create(GetServiceKeyUsageResponseSchema, {
      days: days.map(dailyUsageMessage),
      slots: view.slots.map(slotMessage),
    });
  }
}

function serviceKeyMessage({ key, slots }: ServiceKeyView): ServiceKeyMessage {
  return create(ServiceKeySchema, {
    id: key.id,
    name: key.name,
    permissions: key.permissions,
    allowedCidrs: key.allowedCidrs,
    createTime: timestampFromDate(key.createTime),
    ...(key.expireTime && { expireTime: timestampFromDate(key.expireTime) }),
    ...(key.revokeTime && { revokeTime: timestampFromDate(key.revokeTime) }),
    revokeReason: key.revokeReason ?? "",
    displayPrefix: slots[0]?.displayPrefix ?? "",
    slots: slots.map(slotMessage),
    creatorId: key.creatorId ?? "",
  });
}
