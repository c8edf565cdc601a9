import { once } from "node:events";
import { createServer as createHttp1Server, type IncomingMessage, type ServerResponse } from "node:http";
import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  Http2ServerResponse,
  constants as http2Constants,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** Answers a request of either HTTP version; what connectNodeAdapter() returns is one. */
export type NodeHandler = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void | Promise<void>;

export interface OnePortLimits {
  /** Connections open at once. One more is closed as it arrives. */
  readonly maxConnections: number;
  /** Connections that have not shown yet which protocol they speak. One more closes the oldest of them. */
  readonly maxUndecided: number;
  /** How long a connection has to show it. */
  readonly decideMs: number;
  /** Size of a request's header section: as sent for HTTP/1.1, as RFC 9113 §6.5.2 counts it for HTTP/2. */
  readonly maxHeaderBytes: number;
  /** Calls in flight on one connection: HTTP/2 streams or pipelined HTTP/1.1 requests. */
  readonly maxCallsPerConnection: number;
  /** How long an HTTP/1.1 request's header section may take to come. */
  readonly headersMs: number;
  /** How long a whole request may take to come, on both versions. */
  readonly requestMs: number;
  /** How long an answer that is ready may wait for a client that reads nothing. */
  readonly stallMs: number;
  /** How long an HTTP/1.1 connection may wait for its next request. Longer than a proxy's own is best. */
  readonly keepAliveMs: number;
  /** How long an HTTP/2 connection may be without a call. PINGs do not prolong it. */
  readonly idleSessionMs: number;
  /** How long we wait for the client to close its end once we have closed ours. */
  readonly lingerMs: number;
}

export const defaultOnePortLimits: OnePortLimits = {
  maxConnections: 10_000,
  maxUndecided: 1_000,
  decideMs: 10_000,
  maxHeaderBytes: 16 * 1024,
  maxCallsPerConnection: 100,
  headersMs: 15_000,
  requestMs: 60_000,
  stallMs: 30_000,
  keepAliveMs: 75_000,
  idleSessionMs: 300_000,
  lingerMs: 1_000,
};

export interface OnePortOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly handler: NodeHandler;
  readonly limits?: Partial<OnePortLimits>;
  /** Told what no client can be told: a handler that threw, a connection that could not be accepted. */
  readonly onError?: (error: unknown) => void;
}

export interface OnePort {
  readonly port: number;
  /** The IP address it is bound to. */
  readonly address: string;
  /**
   * Stops accepting, tells clients (GOAWAY; Connection: close), lets calls in flight end, then cuts what is
   * left after `graceMs`. Resolves when no connection is left. A second call can only bring the cut forward.
   */
  close(graceMs: number): Promise<void>;
}

/**
 * One plaintext port for HTTP/1.1 and for HTTP/2 with prior knowledge (RFC 9113 §3.3). Rejects with the
 * system's own error, e.g. EADDRINUSE, EACCES, ENOTFOUND.
 */
export async function listenOnePort(options: OnePortOptions): Promise<OnePort> {
  const limits = { ...defaultOnePortLimits, ...options.limits };
  const onError = options.onError ?? warn;
  const handler = contained(options.handler, onError);
  const http1 = http1Door(handler, limits);
  const http2 = http2Door(handler, limits);
  const sockets = new Set<Socket>();
  const undecided = new Set<Socket>();

  // TCP's keep-alive finds the peers that vanished while a call was in flight.
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
  server.maxConnections = limits.maxConnections;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // A reset is no news: 'close' follows it. Without a listener it would end the process.
    socket.on("error", () => {});
    socket.once("finish", () => destroyAfter(socket, limits.lingerMs));
    // The oldest goes, not the newest: who speaks decides within a round trip, who floods stays silent.
    const [oldest] = undecided;
    if (oldest !== undefined && undecided.size >= limits.maxUndecided) oldest.destroy();
    undecided.add(socket);
    socket.once("close", () => undecided.delete(socket));
    decideProtocol(socket, limits.decideMs, (isHttp2) => {
      undecided.delete(socket);
      (isHttp2 ? http2 : http1).accept(socket);
    });
  });
  server.once("listening", http1.start);
  server.once("close", http1.stop);
  server.listen({ host: options.host, port: options.port });
  await once(server, "listening");
  server.on("error", onError);

  let closed: Promise<void> | undefined;
  const drain = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of undecided) socket.destroy();
      http1.drain();
      http2.drain();
    });
  const { port, address } = server.address() as AddressInfo;
  return {
    port,
    address,
    close(graceMs) {
      closed ??= drain();
      const cut = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      return closed.finally(() => clearTimeout(cut));
    },
  };
}

/** RFC 9113 §3.4 */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Reads no more than it needs, gives it back to the socket and decides; or destroys the socket. */
function decideProtocol(socket: Socket, decideMs: number, decided: (isHttp2: boolean) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const destroy = () => socket.destroy();
  const timer = setTimeout(destroy, decideMs);
  const settle = () => clearTimeout(timer);
  const read = (chunk: Buffer) => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const length = Math.min(seen.length, preface.length);
    const agrees = seen.compare(preface, 0, length, 0, length) === 0;
    if (agrees && length < preface.length) return;
    settle();
    socket.off("data", read).off("end", destroy).off("close", settle);
    // Paused, or what is given back would flow away before its protocol listens.
    socket.pause();
    socket.unshift(seen);
    decided(agrees);
  };
  socket.on("data", read).on("end", destroy).on("close", settle);
}

interface Http1Connection {
  /** The calls in flight, in the order in which they will be answered. */
  readonly calls: Set<ServerResponse>;
  /** How many bytes had come when the last call ended: as many now means that no next request has begun. */
  bytesAtRest: number;
  /** The client has been told, or will be with the newest call's answer, that there is no other. */
  closing: boolean;
}

function http1Door(handler: NodeHandler, limits: OnePortLimits) {
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
    connection.calls.add(response);
    if (draining || connection.calls.size >= limits.maxCallsPerConnection) {
      response.shouldKeepAlive = false;
      connection.closing = true;
    }
    response.once("close", () => {
      connection.calls.delete(response);
      connection.bytesAtRest = socket.bytesRead;
      if (draining && connection.calls.size === 0) endConnection(socket, connection);
    });
    void handler(request, response);
  });

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
    accept(socket: Socket): void {
      connections.set(socket, { calls: new Set(), bytesAtRest: 0, closing: false });
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

function http2Door(handler: NodeHandler, limits: OnePortLimits) {
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
    // Node enforces maxHeaderListSize only on a client that has acknowledged our SETTINGS.
    if (headerListSize(request.rawHeaders) > limits.maxHeaderBytes) response.writeHead(431).end();
    else void handler(request, response);
  });
  server.on("connect", (_request: Http2ServerRequest, response: Http2ServerResponse) => {
    response.writeHead(501).end();
  });

  function watch(session: ServerHttp2Session, socket: Socket): void {
    let calls = 0;
    sessions.add(session);
    let asked = false;
    const idle = setTimeout(() => {
      // A client that has been asked to go and is still here does not even read.
      if (calls === 0 && asked) return socket.destroy();
      if (calls === 0) {
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
      calls += 1;
      // Who reads nothing does not read RST_STREAM either, and Node keeps the stream until that is sent.
      const insist = () => destroyAfter(socket, limits.stallMs, stream);
      const cancel = () => {
        stream.close(http2Constants.NGHTTP2_CANCEL);
        insist();
      };
      stream.once("aborted", insist);
      // Not by 'end': a handler that answers with a stream need not have read so far.
      const late = setTimeout(() => {
        if (!stream.state.remoteClose) cancel();
      }, limits.requestMs);
      stream.once("close", () => {
        clearTimeout(late);
        calls -= 1;
        idle.refresh();
      });
      stream.setTimeout(limits.stallMs, () => {
        if (stream.writableLength > 0) cancel();
      });
    });
  }

  return {
    accept(socket: Socket): void {
      server.once("session", (session) => watch(session, socket));
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

/** No fault of a handler ends the process or leaves its caller waiting. */
function contained(handler: NodeHandler, onError: (error: unknown) => void): NodeHandler {
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

/** Unless `ending` closes before. */
function destroyAfter(socket: Socket, ms: number, ending: Socket | ServerHttp2Stream = socket): void {
  const timer = setTimeout(() => socket.destroy(), ms);
  ending.once("close", () => clearTimeout(timer));
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error));
}
