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
import { readBody } from "./lean/lean-body.ts";
import type { LeanAnswer } from "./lean/lean-answer.ts";
import type { LeanCall } from "./lean/lean-calls.ts";
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
    // Node enforces maxHeaderListSize only on a client that has acknowledged our SETTINGS.
    if (headerListSize(request.rawHeaders) > limits.maxHeaderBytes) response.writeHead(431).end();
    else void handler(request, response, bodies.get(request.stream));
  });
  compat.on("connect", (_request: Http2ServerRequest, response: Http2ServerResponse) => {
    response.writeHead(501).end();
  });

  function serve(asked: Asked): void {
    const { stream, headers, rawHeaders, peerAddress } = asked;
    if (stream.closed || stream.destroyed) return;
    const { ":method": method, ":path": path } = headers;
    const head = { isHttp2: true, method, path, rawHeaders, peerAddress };
    const isTooLarge = headerListSize(rawHeaders) > limits.maxHeaderBytes;
    const call = isTooLarge ? undefined : leanCalls(head);
    if (call === undefined) serveLong(asked);
    else serveLean(asked, call);
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

  function serveLean(asked: Asked, call: LeanCall): void {
    const { stream } = asked;
    let isOver = false;
    stream.on("close", () => {
      if (!isOver) call.giveUp();
    });
    const write = (answer: LeanAnswer) => {
      isOver = true;
      answerStream(stream, answer);
    };
    const fail = (error: unknown) => {
      isOver = true;
      if (!stream.destroyed) stream.close(http2Constants.NGHTTP2_INTERNAL_ERROR);
      onError(error);
    };
    const settle = (answer: LeanAnswer | Promise<LeanAnswer>) => {
      if (answer instanceof Promise) answer.then(write).catch(fail);
      else write(answer);
    };
    const release = readBody(stream, call.mostBytes, {
      whole(body) {
        try {
          const answer = call.answer(body);
          if (answer !== undefined) return settle(answer);
          isOver = true;
          serveLong(asked, Readable.from([body]));
        } catch (error) {
          fail(error);
        }
      },
      tooLong(body) {
        isOver = true;
        call.letGo();
        serveLong(asked, body);
      },
    });
    call.untilDeadline((late) => {
      release();
      settle(late);
    });
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
      stream.on("error", () => {});
      stream.on("close", () => {
        streams.delete(open);
        ended();
        idle.refresh();
      });
      // Not before all that has come is read: what its client takes back in the same breath costs no call.
      if (fresh.length === 0) setImmediate(serveFresh);
      fresh.push({ stream, open, headers, flags, rawHeaders, peerAddress });
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

function answerStream(stream: ServerHttp2Stream, { status, headers, body, trailers }: LeanAnswer): void {
  // What cannot be written because the client has gone is no news.
  if (stream.closed || stream.destroyed) return;
  headers.unshift(":status", String(status));
  if (body === undefined) {
    stream.respond(headers, { endStream: true });
    return;
  }
  if (trailers !== undefined) {
    stream.on("wantTrailers", () => {
      if (!stream.closed && !stream.destroyed) stream.sendTrailers(trailers);
    });
  }
  stream.respond(headers, { waitForTrailers: trailers !== undefined });
  stream.end(body);
}

/** RFC 9113 §6.5.2: each field counts its name, its value and 32. */
function headerListSize(rawHeaders: readonly string[]): number {
  let size = 16 * rawHeaders.length;
  for (const text of rawHeaders) size += text.length;
  return size;
}
