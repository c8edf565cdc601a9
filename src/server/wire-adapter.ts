import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import {
  Code,
  ConnectError,
  type ContextValues,
  createConnectRouter,
  createContextValues,
} from "@connectrpc/connect";
import type { UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import {
  type ConnectNodeAdapterOptions,
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { NodeHandler } from "./node-handler.ts";
import { wireCallKey } from "./wire-call.ts";
import { wireInterceptor } from "./wire-fault.ts";
import { formatOf, GET_FORMAT, type WireFormat } from "./wire-format.ts";
import { createWireHandler } from "./wire-handler.ts";
import { type RefusedAnswer, refuse, refuseHttp, WireRefusal } from "./wire-refusal.ts";
import { textAnswer } from "./wire-text.ts";
import { trailersOnly } from "./wire-trailers-only.ts";

export type WireAdapterOptions = Omit<ConnectNodeAdapterOptions, "requestGate" | "requestPathPrefix"> &
  Required<Pick<ConnectNodeAdapterOptions, "fallback">> & {
    /** Told of each call that is refused before the interceptors see it; may add headers to the answer. */
    readonly onRefused?: (refused: {
      values: ContextValues;
      /** Undefined: there is no such method. Whatever stands in its place is the client's, and may be a secret. */
      method: string | undefined;
      answer: RefusedAnswer;
    }) => void;
  };

/**
 * Does what connectNodeAdapter() does, and gives to wrong input the answer that its protocol publishes
 * (docs/wire.md). Everything that is not an RPC goes to `fallback`.
 */
export function wireAdapter(options: WireAdapterOptions): NodeHandler {
  const { acceptCompression = [compressionGzip, compressionBrotli] } = options;
  const jsonOptions = { ...options.jsonOptions, textDecoder: { decode: decodeUtf8 } };
  const router = createConnectRouter({
    ...options,
    acceptCompression,
    jsonOptions,
    interceptors: [wireInterceptor, ...(options.interceptors ?? [])],
    requestGate({ values, signal }) {
      const call = values.get(wireCallKey);
      if (call !== undefined) {
        call.signal = signal;
      }
    },
  });
  options.routes(router);
  const encodings = acceptCompression.map(({ name }) => name);
  const streams = new Set(
    router.handlers
      .filter(({ method }) => method.methodKind !== "unary")
      .map(({ requestPath }) => requestPath),
  );
  const methods = new Map(
    router.handlers.map((handler) => [handler.requestPath, createWireHandler(handler, encodings)]),
  );

  return async (request, response, body = request) => {
    const contextValues = options.contextValues?.(request) ?? createContextValues();
    const path = toOriginForm(request).split("?", 1)[0] ?? "";
    const note = (answer: UniversalServerResponse | RefusedAnswer) => {
      if ("refusal" in answer) {
        const name = methods.has(path) ? path.slice(1) : undefined;
        options.onRefused?.({ values: contextValues, method: name, answer });
      }
      return answer;
    };
    if (fieldsOf(request, "host").length > 1) {
      await send(note(refuseHttp(400)), response);
      return;
    }
    const method = methods.get(path);
    const format = formatOf(fieldsOf(request, "content-type").join(", "));
    if (method === undefined && !isCall(request, path, format)) {
      options.fallback(request, response);
      return;
    }
    let call: UniversalServerRequest;
    try {
      call = universalRequestFromNodeRequest(request, response, undefined, contextValues);
    } catch {
      // The authority is missing, as HTTP/1.0 allows, or malformed (RFC 9112 section 3.2).
      await send(note(refuseHttp(400)), response);
      return;
    }
    const answer = method === undefined ? unknownMethod(call, format) : await method(call, body, format);
    const accept = call.header.get("accept") ?? "";
    // The begin of a stream is told by its headers, whatever comes of it.
    const isOne = format?.protocol === "grpc" && !streams.has(path);
    const told = isOne ? await trailersOnly(note(answer)) : note(answer);
    await send(textAnswer(told, accept, format?.isText ?? false), response);
  };
}

async function send(
  answer: UniversalServerResponse,
  response: ServerResponse | Http2ServerResponse,
): Promise<void> {
  if (answer.body === undefined && answer.trailer === undefined) {
    // Not writeHead(): that sends headers which say that something follows.
    response.statusCode = answer.status;
    answer.header?.forEach((value, name) => {
      response.setHeader(name, value);
    });
    response.end();
    return;
  }
  // What cannot be written because the client has gone is no news.
  let isGone = false;
  response.once("close", () => {
    isGone = true;
  });
  try {
    await universalResponseToNodeResponse(answer, response);
  } catch (error) {
    if (!isGone && ConnectError.from(error).code !== Code.Aborted) {
      throw error;
    }
  }
}

/** RFC 9112 section 3.2.2: the absolute form is for proxies, but has to be accepted. */
function toOriginForm(request: IncomingMessage | Http2ServerRequest): string {
  const { url = "" } = request;
  if (/^https?:\/\//i.test(url) && URL.canParse(url)) {
    const { pathname, search } = new URL(url);
    request.url = pathname + search;
  }
  return request.url ?? "";
}

/** All of them: Node shows the first of two, which need not be the one that somebody before us has read. */
function fieldsOf({ rawHeaders }: IncomingMessage | Http2ServerRequest, name: string): string[] {
  return rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name);
}

/** Whether it is an RPC that asks for a path where there is none. */
function isCall(
  request: IncomingMessage | Http2ServerRequest,
  path: string,
  format: WireFormat | undefined,
): boolean {
  const isLikeOne = /\w\.\w[^/]*\//.test(path);
  if (request.method === "GET") {
    return isLikeOne && /[?&]connect=/.test(request.url ?? "");
  }
  if (request.method !== "POST" || format === undefined) {
    return false;
  }
  // Much else comes as JSON.
  return (
    isLikeOne ||
    format.contentType !== "application/json" ||
    request.headers["connect-protocol-version"] !== undefined
  );
}

function unknownMethod(call: UniversalServerRequest, format: WireFormat = GET_FORMAT): RefusedAnswer {
  if (format.protocol === "grpc" && call.httpVersion.startsWith("1.")) {
    return refuseHttp(505);
  }
  const refusal = new WireRefusal(Code.Unimplemented, "there is no such method");
  return format.protocol === "grpc" || format.protocol === "grpc-web"
    ? refuse(format, refusal)
    : refuse(GET_FORMAT, refusal, 404);
}

function decodeUtf8(bytes: Uint8Array | undefined): string {
  try {
    return STRICT_UTF8.decode(bytes);
  } catch {
    throw new WireRefusal(Code.InvalidArgument, "the message is not UTF-8");
  }
}

const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true });
