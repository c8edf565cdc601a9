import { create, type JsonObject } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../authenticate/actor.ts";
import {
  AuditActorType,
  AuditFaultKind,
  type AuditService,
  type ListAuditCheckpointsRequest,
  type ListAuditCheckpointsResponse,
  ListAuditCheckpointsResponseSchema,
  type ListAuditEventsRequest,
  type ListAuditEventsResponse,
  ListAuditEventsResponseSchema,
  type VerifyAuditLogRequest,
  type VerifyAuditLogResponse,
  VerifyAuditLogResponseSchema,
} from "../gen/latchkey/v1/audit_pb.ts";
import type { Pager } from "../storage/page.ts";
import { chainOf } from "./audit-record.ts";
import { listAuditCheckpoints, type SignedCheckpoint } from "./list-audit-checkpoints.ts";
import { type AuditEventView, listAuditEvents } from "./list-audit-events.ts";
import { type VerifyParts, verifyAuditLog } from "./verify-audit-log.ts";

export interface AuditServiceParts extends VerifyParts {
  readonly pager: Pager;
  readonly actorOf: (context: HandlerContext) => Actor;
}

export class AuditServiceImpl implements ServiceImpl<typeof AuditService> {
  readonly #parts: AuditServiceParts;

  constructor(parts: AuditServiceParts) {
    this.#parts = parts;
  }

  async listAuditEvents(
    request: ListAuditEventsRequest,
    context: HandlerContext,
  ): Promise<ListAuditEventsResponse> {
    const chain = chainOf(this.#parts.actorOf(context), request);
    const { actorId, actionPrefix, targetId } = request;
    const startTime = request.startTime && timestampDate(request.startTime);
    const endTime = request.endTime && timestampDate(request.endTime);
    const filter = { startTime, endTime, actorId, actionPrefix, targetId };
    const page = await listAuditEvents(this.#parts, chain, filter, request);
    return create(ListAuditEventsResponseSchema, {
      events: page.rows.map(eventMessage),
      nextPageToken: page.nextPageToken,
    });
  }

  async verifyAuditLog(
    request: VerifyAuditLogRequest,
    context: HandlerContext,
  ): Promise<VerifyAuditLogResponse> {
    const chain = chainOf(this.#parts.actorOf(context), request);
    const { fault, oldestUnsealedTime, ...found } = await verifyAuditLog(this.#parts, chain, request);
    return create(VerifyAuditLogResponseSchema, {
      ...found,
      ...(fault && { fault: { ...fault, kind: AuditFaultKind[fault.kind] } }),
      ...(oldestUnsealedTime && { oldestUnsealedTime: timestampFromDate(oldestUnsealedTime) }),
    });
  }

  async listAuditCheckpoints(
    request: ListAuditCheckpointsRequest,
    context: HandlerContext,
  ): Promise<ListAuditCheckpointsResponse> {
    const chain = chainOf(this.#parts.actorOf(context), request);
    const page = await listAuditCheckpoints(this.#parts, chain, request);
    const keys = await this.#parts.auditKeys.published();
    return create(ListAuditCheckpointsResponseSchema, {
      checkpoints: page.rows.map(checkpointMessage),
      nextPageToken: page.nextPageToken,
      publicKeys: keys.map((key) => JSON.stringify(key)),
    });
  }
}

const ACTOR_TYPES = {
  user: AuditActorType.USER,
  api_key: AuditActorType.API_KEY,
  service: AuditActorType.SERVICE,
  operator: AuditActorType.OPERATOR,
  anonymous: AuditActorType.ANONYMOUS,
} as const;

function eventMessage({ before, after, detail, ...event }: AuditEventView) {
  return {
    id: event.id,
    organizationId: event.organizationId ?? "",
    occurTime: timestampFromDate(event.occurTime),
    actorType: ACTOR_TYPES[event.actorType],
    actorId: event.actorId,
    onBehalfOf: event.onBehalfOf,
    action: event.action,
    targetId: event.targetId,
    ...(before && { before: before as JsonObject }),
    ...(after && { after: after as JsonObject }),
    detail: detail as JsonObject,
    sourceAddress: event.sourceAddress,
    requestId: event.requestId,
    personalDataErased: event.personalDataErased,
    sequence: event.sequence ?? 0n,
  };
}

function checkpointMessage({ id, sequence, jws, signed }: SignedCheckpoint) {
  return {
    id,
    sequence,
    jws,
    hash: signed?.hash ?? "",
    ...(signed && { createTime: timestampFromDate(signed.createTime) }),
  };
}
