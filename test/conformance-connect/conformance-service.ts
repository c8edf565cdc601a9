// connectrpc.conformance.v1.ConformanceService, as its proto file says.
import { setTimeout as wait } from "node:timers/promises";
import { create, type DescService, type Message } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";
import {
  type Code,
  ConnectError,
  type ConnectRouter,
  type HandlerContext,
  type ServiceImpl,
} from "@connectrpc/connect";
import type {
  Contract,
  Header,
  RequestedError,
  StreamDefinition,
  StreamRequest,
  UnaryDefinition,
  UnaryRequest,
} from "./descriptors.ts";

export function conformanceRoutes(contract: Contract): (router: ConnectRouter) => void {
  const payloadSchema = contract.message("ConformancePayload");
  const infoSchema = contract.message("ConformancePayload.RequestInfo");
  const headerSchema = contract.message("Header");

  const pack = (name: string, message: Message): Any => anyPack(contract.message(name), message);

  function requestInfo(context: HandlerContext, requests: Any[]): Message {
    const timeoutMs = context.timeoutMs();
    const headersOf = (entries: Iterable<[string, string]>) =>
      [...entries].map(([name, value]) => create(headerSchema, { name, value: [value] }));
    return create(infoSchema, {
      requestHeaders: headersOf(context.requestHeader.entries()),
      requests,
      ...(timeoutMs !== undefined && { timeoutMs: BigInt(timeoutMs) }),
      ...(context.requestMethod === "GET" && {
        connectGetInfo: create(contract.message("ConformancePayload.ConnectGetInfo"), {
          queryParams: headersOf(new URL(context.url).searchParams.entries()),
        }),
      }),
    });
  }

  const payload = (data: Uint8Array | undefined, info: Message | undefined): Message =>
    create(payloadSchema, { ...(data && { data }), ...(info && { requestInfo: info }) });

  function requestedError({ code, message = "", details }: RequestedError, info?: Message): ConnectError {
    const error = new ConnectError(message, code as Code);
    const all = [...details, ...(info === undefined ? [] : [anyPack(infoSchema, info)])];
    error.details.push(...all.map(({ typeUrl, value }) => ({ type: typeUrl.replace(/^.*\//, ""), value })));
    return error;
  }

  async function answerOnce(
    definition: UnaryDefinition | undefined,
    requests: Any[],
    context: HandlerContext,
  ): Promise<{ payload: Message }> {
    setMetadata(context, definition);
    const info = requestInfo(context, requests);
    if (definition === undefined) {
      return { payload: payload(undefined, info) };
    }
    await wait(definition.responseDelayMs);
    const { response } = definition;
    if (response.case === "error") {
      throw requestedError(response.value, info);
    }
    return { payload: payload(response.case && response.value, info) };
  }

  async function* serverStream(request: StreamRequest, context: HandlerContext) {
    const { responseDefinition: definition } = request;
    setMetadata(context, definition);
    let info: Message | undefined = requestInfo(context, [pack("ServerStreamRequest", request)]);
    for (const data of definition?.responseData ?? []) {
      await wait(definition?.responseDelayMs);
      yield { payload: payload(data, info) };
      info = undefined;
    }
    if (definition?.error !== undefined) {
      throw requestedError(definition.error, info);
    }
  }

  async function* bidiStream(requests: AsyncIterable<StreamRequest>, context: HandlerContext) {
    let first: StreamRequest | undefined;
    let seen: Any[] = [];
    let sent = 0;
    for await (const request of requests) {
      if (first === undefined) {
        first = request;
        setMetadata(context, first.responseDefinition);
      }
      seen.push(pack("BidiStreamRequest", request));
      const data = first.responseDefinition?.responseData ?? [];
      if (first.fullDuplex !== true) {
        continue;
      }
      if (sent >= data.length) {
        break;
      }
      await wait(first.responseDefinition?.responseDelayMs);
      yield { payload: payload(data[sent], requestInfo(context, seen)) };
      seen = [];
      sent += 1;
    }
    const definition = first?.responseDefinition;
    for (const data of definition?.responseData.slice(sent) ?? []) {
      await wait(definition?.responseDelayMs);
      yield { payload: payload(data, sent === 0 ? requestInfo(context, seen) : undefined) };
      sent += 1;
    }
    if (definition?.error !== undefined) {
      throw requestedError(definition.error, sent === 0 ? requestInfo(context, seen) : undefined);
    }
  }

  const methods: object = {
    unary: (request: UnaryRequest, context: HandlerContext) =>
      answerOnce(request.responseDefinition, [pack("UnaryRequest", request)], context),
    idempotentUnary: (request: UnaryRequest, context: HandlerContext) =>
      answerOnce(request.responseDefinition, [pack("IdempotentUnaryRequest", request)], context),
    async clientStream(requests: AsyncIterable<UnaryRequest>, context: HandlerContext) {
      let definition: UnaryDefinition | undefined;
      const seen: Any[] = [];
      for await (const request of requests) {
        definition ??= seen.length === 0 ? request.responseDefinition : undefined;
        seen.push(pack("ClientStreamRequest", request));
      }
      return await answerOnce(definition, seen, context);
    },
    serverStream,
    bidiStream,
  };
  return (router) => {
    // A service that is read at run time has no methods that TypeScript could know.
    router.service(contract.service, methods as Partial<ServiceImpl<DescService>>);
  };
}

function setMetadata(
  context: HandlerContext,
  definition: UnaryDefinition | StreamDefinition | undefined,
): void {
  append(context.responseHeader, definition?.responseHeaders ?? []);
  append(context.responseTrailer, definition?.responseTrailers ?? []);
}

function append(target: Headers, headers: readonly Header[]): void {
  for (const { name, value } of headers) {
    for (const each of value) {
      target.append(name, each);
    }
  }
}
