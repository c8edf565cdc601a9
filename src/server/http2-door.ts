import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  constants as http2Constants,
  type ServerHttp2Session,
} from "node:http2";
import type { Socket } from "node:net";
import type { NodeHandler } from "./node-handler.ts";
import { type Activity, type Began, destroyAfter, type OnePortLimits } from "./port-limits.ts";

/** Serves the connections of a port that speak HTTP/2. */
export function http2Door(handler: NodeHandler, limits: OnePortLimits, began: Began) {
  const sessions = new Set<ServerHttp2Session>();

  // Against resets in bulk (CVE-2023-44487) and frames that are no use, Node's own bounds hold:
  // streamResetBurst 1000 and streamResetRate 33, maxSessionInvalidFrames, maxSessionRejectedStreams.
  const server = createHttp2Server({
    maxSessionMemory: 10,
    maxHeaderListPairs: 128,
    settings: {
      enablePush: false,
      maxHeaderListSize: limits.maxHeaderBytes,
      maxConcurrentStreams: limits.maxCallsPerConnection,
    },
  });

  server.on("request", (request, response) => {
    // Not before all that has come is read: what its client takes back in the same breath costs no call.
    setImmediate(() => {
      if (request.stream.closed) return;
      // Node enforces maxHeaderListSize only on a client that has acknowledged our SETTINGS.
      if (headerListSize(request.rawHeaders) > limits.maxHeaderBytes) response.writeHead(431).end();
      else void handler(request, response);
    });
  });
  server.on("connect", (_request: Http2ServerRequest, response: Http2ServerResponse) => {
    response.writeHead(501).end();
  });

  function watch(session: ServerHttp2Session, socket: Socket, activity: Activity): void {
    sessions.add(session);
    let asked = false;
    const idle = setTimeout(() => {
      // A client that has been asked to go and is still here does not even read.
      if (activity.calls === 0 && asked) return socket.destroy();
      if (activity.calls === 0) {
        asked = true;
        session.close();
      }
      return idle.refresh();
    }, limits.idleSessionMs);
    socket.once("close", () => {
      sessions.delete(session);
      clearTimeout(idle);
    });
    // What a client does to its own connection is no news either.
    session.on("error", () => {});
    session.on("stream", (stream) => {
      // Who reads nothing does not read RST_STREAM either, and Node keeps the stream until that is sent.
      const insist = () => destroyAfter(socket, limits.stallMs, stream);
      const cancel = () => {
        stream.close(http2Constants.NGHTTP2_CANCEL);
        insist();
      };
      const ended = began(activity, cancel);
      stream.once("aborted", insist);
      // Not by 'end': a handler that answers with a stream need not have read so far.
      const late = setTimeout(() => {
        if (!stream.state.remoteClose) cancel();
      }, limits.requestMs);
      // Not stream.setTimeout(): where the session has failed, it holds on to the stream until it runs out.
      let waits = false;
      const stall = setInterval(() => {
        if (waits) cancel();
        waits = stream.writableLength > 0;
      }, limits.stallMs);
      stream.on("drain", () => {
        waits = false;
      });
      stream.once("close", () => {
        clearTimeout(late);
        clearInterval(stall);
        ended();
        idle.refresh();
      });
    });
  }

  return {
    accept(socket: Socket, activity: Activity): void {
      server.once("session", (session) => watch(session, socket, activity));
      server.emit("connection", socket);
    },
    /**
     * GOAWAY names the last call that is served (RFC 9113 §6.8); what the client sent after it, it may send
     * again. A first GOAWAY of 2^31-1 would spare it that, but after any GOAWAY Node ignores new calls.
     */
    drain(): void {
      for (const session of sessions) session.close();
    },
  };
}

/** RFC 9113 §6.5.2: each field counts its name, its value and 32. */
function headerListSize(rawHeaders: readonly string[]): number {
  return rawHeaders.reduce((size, text) => size + text.length + 16, 0);
}
