import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  constants as http2Constants,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import type { LeanAnswer } from "./lean/lean-answer.ts";
import type { LeanCall } from "./lean/lean-call.ts";
import { LeanExchange } from "./lean/lean-exchange.ts";
import type { Served } from "./node-handler.ts";
import { type OpenStream, OpenStreams } from "./open-streams.ts";
import type { Activity, Began, OnePortLimits } from "./port-limits.ts";

/** A request, as Node tells of it. */
interface Asked {
  readonly stream: ServerHttp2Stream;
  readonly open: OpenStream;
  readonly headers: IncomingHttpHeaders;
  readonly flags: number;
  readonly rawHeaders: string[];
  readonly peerAddress: string;
}

/** Serves the connections of a port that speak HTTP/2. */
export function http2Door({ handler, leanCalls, onError }: Served, limits: OnePortLimits, began: Began) {
  const sessions = new Set<ServerHttp2Session>();
  const streams = new OpenStreams(limits);
  /** What has come since the last turn of the event loop. */
  let fresh: Asked[] = [];

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

  // Never listens: makes of a stream what NodeHandlers take, as a server with such a listener does of each.
  const compat = createHttp2Server();
  const bodies = new WeakMap<ServerHttp2Stream, Readable>();
  compat.on("request", (request, response) => {
    // Not before all that has come is read: what its client takes back in the same breath costs no call.
    setImmediate(() => {
      if (request.stream.closed) return;
      // Node enforces maxHeaderListSize only on a client that has acknowledged our SETTINGS.
      if (headerListSize(request.rawHeaders) > limits.maxHeaderBytes) response.writeHead(431).end();
      else void handler(request, response, bodies.get(request.stream));
    });
  });
  compat.on("connect", (_request: Http2ServerRequest, response: Http2ServerResponse) => {
    response.writeHead(501).end();
  });

  function serve(asked: Asked): void {
    const { stream, rawHeaders, peerAddress } = asked;
    if (stream.closed || stream.destroyed) return;
    const isTooLarge = headerListSize(rawHeaders) > limits.maxHeaderBytes;
    const call = isTooLarge
      ? undefined
      : leanCalls?.begin(asked.headers[":path"], { isHttp2: true, rawHeaders, peerAddress });
    if (call !== undefined) asked.open.exchange = new Http2Exchange(asked, call);
    // An empty body may have ended before anybody listened.
    else serveLong(asked, stream.readableEnded ? Readable.from([]) : undefined);
  }

  function serveFresh(): void {
    const asked = fresh;
    fresh = [];
    for (const one of asked) serve(one);
  }

  function serveLong({ stream, open, headers, flags, rawHeaders }: Asked, body?: Readable): void {
    stream.on("drain", () => open.moves());
    if (body !== undefined) bodies.set(stream, body);
    compat.emit("stream", stream, headers, flags, rawHeaders);
  }

  class Http2Exchange extends LeanExchange {
    #asked: Asked | undefined;

    constructor(asked: Asked, call: LeanCall) {
      super(asked.stream, call);
      this.#asked = asked;
    }

    override closed(): void {
      super.closed();
      this.#asked = undefined;
    }

    protected override write(answer: LeanAnswer): void {
      if (this.#asked !== undefined) answerStream(this.#asked.stream, answer);
    }

    protected override serveLong(body: Readable): void {
      if (this.#asked !== undefined) serveLong(this.#asked, body);
    }

    protected override fail(error: unknown): void {
      const stream = this.#asked?.stream;
      if (stream?.destroyed === false) stream.close(http2Constants.NGHTTP2_INTERNAL_ERROR);
      onError(error);
    }
  }

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
    const peerAddress = socket.remoteAddress ?? "";
    session.on("stream", (stream, headers, flags, rawHeaders) => {
      const open = streams.add(stream, socket);
      const ended = began(activity, () => open.cancel());
      stream.on("error", ignore);
      stream.on("close", () => {
        streams.delete(open);
        open.exchange?.closed();
        open.exchange = undefined;
        ended();
        idle.refresh();
      });
      const asked = { stream, open, headers, flags, rawHeaders, peerAddress };
      if (leanCalls?.serves(headers[":method"], headers[":path"]) !== true) return serveLong(asked);
      // As above. One turn for all of them.
      if (fresh.length === 0) setImmediate(serveFresh);
      fresh.push(asked);
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

function answerStream(stream: ServerHttp2Stream, { status, headers, body, isOk }: LeanAnswer): void {
  // What cannot be written because the client has gone is no news.
  if (stream.closed || stream.destroyed) return;
  headers.unshift(":status", String(status));
  if (body === undefined) {
    stream.respond(headers, { endStream: true });
    return;
  }
  if (isOk) stream.on("wantTrailers", sendOk);
  stream.respond(headers, { waitForTrailers: isOk });
  stream.end(body, "latin1");
}

/** The trailers of gRPC behind an answer. Those of a refusal are its headers. */
const OK_TRAILERS = { "grpc-status": "0" };

function sendOk(this: ServerHttp2Stream): void {
  if (!this.closed && !this.destroyed) this.sendTrailers(OK_TRAILERS);
}

/** What a client does to its own stream is no news; nobody listening would end the process. */
function ignore(): void {}

/** RFC 9113 §6.5.2: each field counts its name, its value and 32. */
function headerListSize(rawHeaders: readonly string[]): number {
  let size = 16 * rawHeaders.length;
  for (const text of rawHeaders) size += text.length;
  return size;
}
