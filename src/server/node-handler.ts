import type { IncomingMessage, ServerResponse } from "node:http";
import { type Http2ServerRequest, Http2ServerResponse, constants as http2Constants } from "node:http2";

/** Answers a request of either HTTP version; what connectNodeAdapter() returns is one. */
export type NodeHandler = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void | Promise<void>;

/** No fault of a handler ends the process or leaves its caller waiting. */
export function contained(handler: NodeHandler, onError: (error: unknown) => void): NodeHandler {
  return async (request, response) => {
    // To write after the end is an 'error' event, which would end the process if nobody listened.
    response.on("error", () => {});
    try {
      await handler(request, response);
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
