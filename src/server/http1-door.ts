import { createServer as createHttp1Server, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import type { LeanAnswer } from "./lean/lean-answer.ts";
import type { LeanCall } from "./lean/lean-call.ts";
import { LeanExchange } from "./lean/lean-exchange.ts";
import type { Served } from "./node-handler.ts";
import type { Activity, Began, OnePortLimits } from "./port-limits.ts";

interface Http1Connection {
  readonly activity: Activity;
  /** The calls in flight, in the order in which they will be answered. */
  readonly calls: Set<ServerResponse>;
  /** How many bytes had come when the last call ended: as many now means that no next request has begun. */
  bytesAtRest: number;
  /** The client has been told, or will be with the newest call's answer, that there is no other. */
  closing: boolean;
}

/** Serves the connections of a port that speak HTTP/1.1. */
export function http1Door({ handler, leanCalls, onError }: Served, limits: OnePortLimits, began: Began) {
  const connections = new Map<Socket, Http1Connection>();
  let draining = false;

  const headersTimeout = Math.min(limits.headersMs, limits.requestMs);
  const server = createHttp1Server({
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: Math.ceil(headersTimeout / 4),
  });
  // By default Node drops the headers after the thousandth without a word, and with them perhaps the second
  // of two credentials. maxHeaderBytes is the bound.
  server.maxHeadersCount = 0;

  server.on("request", (request, response) => {
    const { socket } = request;
    const connection = connections.get(socket);
    // RFC 9112 §9.6: no request is processed that comes after one which is answered `Connection: close`.
    if (connection === undefined || connection.closing) {
      socket.pause();
      return;
    }
    let exchange: LeanExchange | undefined;
    const ended = began(connection.activity, () => socket.destroy());
    connection.calls.add(response);
    if (draining || connection.calls.size >= limits.maxCallsPerConnection) {
      response.shouldKeepAlive = false;
      connection.closing = true;
    }
    response.once("close", () => {
      ended();
      exchange?.closed();
      connection.calls.delete(response);
      connection.bytesAtRest = socket.bytesRead;
      if (draining && connection.calls.size === 0) endConnection(socket, connection);
    });
    const { method, url, rawHeaders, httpVersionMinor } = request;
    const isLean = httpVersionMinor === 1 && leanCalls?.serves(method, url);
    const peerAddress = socket.remoteAddress ?? "";
    const call = isLean ? leanCalls?.begin(url, { isHttp2: false, rawHeaders, peerAddress }) : undefined;
    if (call === undefined) void handler(request, response);
    else exchange = new Http1Exchange(request, response, call);
  });

  class Http1Exchange extends LeanExchange {
    readonly #request: IncomingMessage;
    readonly #response: ServerResponse;

    constructor(request: IncomingMessage, response: ServerResponse, call: LeanCall) {
      super(request, call);
      this.#request = request;
      this.#response = response;
      // To write after the end is an 'error' event, which would end the process if nobody listened.
      response.on("error", ignore);
    }

    protected override write({ status, headers, body }: LeanAnswer): void {
      this.#response.writeHead(status, headers);
      // A text goes out in one piece with the head.
      this.#response.end(typeof body === "string" ? body : body?.toString("latin1"), "latin1");
    }

    protected override serveLong(body: Readable): void {
      void handler(this.#request, this.#response, body);
    }

    protected override fail(error: unknown): void {
      this.#response.destroy();
      onError(error);
    }
  }

  // Also tells the end of keepAliveMs. A handler that takes its time is not the client's fault.
  server.setTimeout(limits.stallMs, (socket: Socket) => {
    if (!connections.get(socket)?.calls.size || socket.writableLength > 0) socket.destroy();
  });

  server.on("clientError", (error: NodeJS.ErrnoException, stream) => {
    const socket = stream as Socket;
    const [call, ...more] = connections.get(socket)?.calls ?? [];
    if (call === undefined) {
      // Ended and not destroyed: unread bytes would make that a reset, which can overtake the answer.
      // Each further piece of what we refused comes here again.
      if (!socket.writableEnded) socket.end(refusal(faultStatus(error)));
      return;
    }
    // Only the fault of the one call in flight may be answered: any other answer would be taken for that
    // of an earlier request.
    if (more.length === 0 && !call.req.complete && !call.headersSent) socket.end(refusal(faultStatus(error)));
    socket.destroySoon();
  });

  // RFC 9110 §9.3.6: CONNECT is for proxies. `Upgrade` has no listener: Node answers as if it were not there,
  // which is RFC 9110 §7.8.
  server.on("connect", (_request, stream) => {
    const socket = stream as Socket;
    if (connections.get(socket)?.calls.size) socket.destroy();
    else socket.resume().end(refusal("501 Not Implemented"));
  });

  return {
    // A server that never listens has no clock for headersMs and requestMs; this winds it up.
    start: () => server.emit("listening"),
    stop: () => server.close(),
    accept(socket: Socket, activity: Activity): void {
      connections.set(socket, { activity, calls: new Set(), bytesAtRest: 0, closing: false });
      socket.once("close", () => connections.delete(socket));
      server.emit("connection", socket);
      socket.resume();
    },
    /** Not closeIdleConnections(): that also cuts an answer which is on its way. */
    drain(): void {
      draining = true;
      for (const [socket, connection] of connections) {
        const newest = [...connection.calls].at(-1);
        if (newest === undefined) {
          if (socket.bytesRead === connection.bytesAtRest) endConnection(socket, connection);
        } else if (!newest.headersSent) {
          newest.shouldKeepAlive = false;
          connection.closing = true;
        }
      }
    },
  };
}

function ignore(): void {}

const http1Faults: Readonly<Record<string, string>> = {
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
  HPE_CHUNK_EXTENSIONS_OVERFLOW: "413 Content Too Large",
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
};

function faultStatus(error: NodeJS.ErrnoException): string {
  return http1Faults[error.code ?? ""] ?? "400 Bad Request";
}

function refusal(status: string): string {
  return `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
}

function endConnection(socket: Socket, connection: Http1Connection): void {
  connection.closing = true;
  socket.end();
}
