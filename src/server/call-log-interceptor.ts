import { create, type DescMethod, isMessage } from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor, type StreamResponse } from "@connectrpc/connect";
import type { Logger } from "pino";
import { ErrorInfoSchema, RequestInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { AuthenticateResponseSchema, AuthenticationService } from "../gen/latchkey/v1/authentication_pb.ts";
import { actorKey, faultKey, peerAddressKey, requestIdKey } from "./call-context.ts";
import type { WireAdapterOptions } from "./wire-adapter.ts";

/** Told to callers, and taken from them. */
export const REQUEST_ID_HEADER = "x-request-id";

/** What probes and tools ask all day. */
const QUIET_SERVICES = /^grpc\.(health|reflection)\./;
/** What is asked for each request that a deployment serves. Refusals are in the audit record. */
const QUIET_METHODS: ReadonlySet<DescMethod> = new Set([
  AuthenticationService.method.authenticate,
  AuthenticationService.method.batchAuthenticate,
]);

/** A call that was answered, as the log tells of it. */
export interface LoggedCall {
  readonly requestId: string;
  /** With its service. */
  readonly method: string;
  readonly code: string;
  readonly reason?: string | undefined;
  /** Whom an answer is about, by their id. */
  readonly subject?: string | undefined;
  /** Who called, by their id. */
  readonly principal: string | undefined;
  readonly peer: string;
}

/**
 * Writes one line for a call.
 *
 * @param started by `performance.now()`.
 * @param fault what went wrong on our side; undefined: nothing did.
 */
export function logCall(
  log: Logger,
  level: "debug" | "info",
  call: LoggedCall,
  started: number,
  fault: unknown,
): void {
  const { requestId, method, code, reason, subject, principal, peer } = call;
  const line = {
    requestId,
    method,
    code,
    ...(reason !== undefined && { reason }),
    ...(subject !== undefined && { subject }),
    milliseconds: Math.round((performance.now() - started) * 10) / 10,
    principal,
    peer,
    ...(fault !== undefined && { err: fault }),
  };
  if (fault !== undefined) {
    log.error(line, "a call failed");
  } else {
    log[level](line, "call");
  }
}

/**
 * Writes one line for each call, with what is needed to find it again and nothing that is secret, and tells
 * the caller the call's id: in a header, and in an error as `google.rpc.RequestInfo`.
 */
export function createCallLogInterceptor(log: Logger): Interceptor {
  return (next) => async (request) => {
    const started = performance.now();
    const values = request.contextValues;
    const requestId = values.get(requestIdKey);

    const note = (outcome: { code: string; reason?: string; subject?: string }): void => {
      const isQuiet = QUIET_SERVICES.test(request.service.typeName) || QUIET_METHODS.has(request.method);
      const call = {
        requestId,
        method: `${request.service.typeName}/${request.method.name}`,
        ...outcome,
        principal: values.get(actorKey)?.decision.principal.id,
        peer: values.get(peerAddressKey),
      };
      logCall(log, isQuiet ? "debug" : "info", call, started, values.get(faultKey));
    };
    const noteError = (thrown: unknown): ConnectError => {
      const error = ConnectError.from(thrown);
      const [info] = error.findDetails(ErrorInfoSchema);
      note({ code: Code[error.code], ...(info && { reason: info.reason }) });
      if (info !== undefined) {
        error.details.push({ desc: RequestInfoSchema, value: create(RequestInfoSchema, { requestId }) });
      }
      error.metadata.set(REQUEST_ID_HEADER, requestId);
      return error;
    };

    try {
      const response = await next(request);
      response.header.set(REQUEST_ID_HEADER, requestId);
      if (response.stream) {
        return { ...response, message: untilDone(response.message, note, noteError) };
      }
      const subject = isMessage(response.message, AuthenticateResponseSchema)
        ? response.message.principal?.id
        : undefined;
      note({ code: "Ok", ...(subject !== undefined && { subject }) });
      return response;
    } catch (thrown) {
      throw noteError(thrown);
    }
  };
}

/** Does the same for a call that the transport refused, which no interceptor sees. */
export function createRefusalLog(log: Logger): NonNullable<WireAdapterOptions["onRefused"]> {
  return ({ values, method, answer }) => {
    const requestId = values.get(requestIdKey);
    answer.header?.set(REQUEST_ID_HEADER, requestId);
    logUnread(log, { requestId, method, code: answer.refusal, peer: values.get(peerAddressKey) });
  };
}

/** @param call `method` is undefined where there is none of that name. */
export function logUnread(
  log: Logger,
  {
    requestId,
    method,
    code,
    peer,
  }: Pick<LoggedCall, "requestId" | "code" | "peer"> & {
    readonly method: string | undefined;
  },
): void {
  log.info(
    { requestId, ...(method !== undefined && { method }), code, peer },
    "a call that could not be read",
  );
}

/** A stream is one call, and is noted when it ends. */
async function* untilDone(
  messages: StreamResponse["message"],
  note: (outcome: { code: string }) => void,
  noteError: (thrown: unknown) => ConnectError,
): StreamResponse["message"] {
  try {
    yield* messages;
  } catch (thrown) {
    throw noteError(thrown);
  }
  note({ code: "Ok" });
}
