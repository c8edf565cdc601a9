import type { IncomingMessage, ServerResponse } from "node:http";
import { type Http2ServerRequest, Http2ServerResponse, constants as http2Constants } from "node:http2";
import type { Readable } from "node:stream";
import type { LeanCalls } from "./lean/lean-call.ts";

/**
 * Answers a request of either HTTP version; what connectNodeAdapter() returns is one.
 *
 * @param body where somebody has read of the request's own already: all of it, what was read first.
 */
export type NodeHandler = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
  body?: Readable,
) => void | Promise<void>;

/** What a door serves. */
export interface Served {
  readonly handler: NodeHandler;
  /** Serves what it can. */
  readonly leanCalls: LeanCalls | undefined;
  /** Told what no client can be told. */
  readonly onError: (error: unknown) => void;
}

/** No fault of a handler ends the process or leaves its caller waiting. */
export function contained(handler: NodeHandler, onError: (error: unknown) => void): NodeHandler {
  return async (request, response, body) => {
    // To write after the end is an 'error' event, which would end the process if nobody listened.
    response.on("error", () => {});
    try {
      await handler(request, response, body);
    } catch (error) {
      answerFault(response);
      onError(error);
    }
  };
}

function answerFault(response: ServerResponse | Http2ServerResponse): void {
  if (response.writableEnded) return;
  if (!response.headersSent) {
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    response.statusCode = 500;
    response.setHeader("Content-Length", 0);
    response.end();
  } else if (response instanceof Http2ServerResponse) {
    response.stream.close(http2Constants.NGHTTP2_INTERNAL_ERROR);
  } else {
    response.destroy();
  }
}
