import type { Readable } from "node:stream";
import type {
  UniversalHandler,
  UniversalServerRequest,
  UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import { checkEnvelopes, readBody } from "./wire-body.ts";
import { type WireCall, wireCallKey } from "./wire-call.ts";
import { refusalOf } from "./wire-fault.ts";
import { contentTypesOf, GET_FORMAT, type WireFormat } from "./wire-format.ts";
import { type RefusedAnswer, refuse, refuseHttp } from "./wire-refusal.ts";
import { callFault, queryFault } from "./wire-request.ts";
import { decodeText } from "./wire-text.ts";

/** Answers the calls of one method. */
export type WireHandler = (
  request: UniversalServerRequest,
  body: Readable,
  format: WireFormat | undefined,
) => Promise<UniversalServerResponse | RefusedAnswer>;

/**
 * Puts a method's handler behind what is to be answered before Connect sees a call, and answers again where
 * Connect refused a call with another code than its protocol publishes.
 *
 * @param encodings the compressions that are served.
 */
export function createWireHandler(handler: UniversalHandler, encodings: readonly string[]): WireHandler {
  const { methodKind } = handler.method;
  const contentTypes = contentTypesOf(handler.method);
  const allowed = handler.allowedMethods.join(", ");

  /** What is wrong in HTTP's own terms, or else how the call is made. */
  function negotiate(
    request: UniversalServerRequest,
    posted: WireFormat | undefined,
  ): WireFormat | RefusedAnswer {
    if (!handler.allowedMethods.includes(request.method)) {
      return refuseHttp(405, { allow: allowed });
    }
    const format = request.method === "GET" ? GET_FORMAT : posted;
    const other = methodKind === "unary" ? "connect-stream" : "connect";
    if (format?.contentType === undefined || format.protocol === other) {
      return refuseHttp(415, { "accept-post": contentTypes });
    }
    if (request.httpVersion.startsWith("1.")) {
      // A client that streams both ways may wait for us before it ends its request: only the end tells it.
      if (methodKind === "bidi_streaming") {
        return refuseHttp(505, { connection: "close" });
      }
      if (format.protocol === "grpc") {
        return refuseHttp(505);
      }
    }
    return format;
  }

  return async (request, body, posted) => {
    const format = negotiate(request, posted);
    if ("status" in format) {
      return format;
    }
    const { protocol, contentType = "", isText } = format;
    const header = new Headers(request.header);
    header.set("content-type", contentType);
    const query = request.method === "GET" ? new URL(request.url).searchParams : undefined;
    const fault = callFault(protocol, header, query, encodings) ?? (query && queryFault(query, request.url));
    if (fault !== undefined) {
      return refuse(format, fault);
    }

    const call: WireCall = { protocol, isReached: false, signal: undefined };
    request.contextValues?.set(wireCallKey, call);
    let isRead = false;
    const bytes = readBody(body, () => {
      isRead = true;
      return call.signal;
    });
    const binary = isText ? decodeText(bytes) : bytes;
    const answer = await handler({
      ...request,
      header,
      body: protocol === "connect" ? binary : checkEnvelopes(binary),
    });
    // Connect gives the reason for its own refusals to the signal of the call.
    return call.isReached || call.signal === undefined
      ? endingWith(answer, () => {
          // Refused before its message was looked at. That flows away too, or its client could not end the call.
          if (!isRead) {
            body.resume();
          }
        })
      : refuse(format, refusalOf(call.signal.reason, call));
  };
}

/** The same answer. @param end called once all of it was read. */
function endingWith(answer: UniversalServerResponse, end: () => void): UniversalServerResponse {
  const { body } = answer;
  if (body === undefined || body instanceof Uint8Array) {
    end();
    return answer;
  }
  return {
    ...answer,
    body: (async function* () {
      try {
        yield* body;
      } finally {
        end();
      }
    })(),
  };
}
