import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { http1Door } from "./http1-door.ts";
import { http2Door } from "./http2-door.ts";
import type { LeanCalls } from "./lean/lean-call.ts";
import { contained, type NodeHandler } from "./node-handler.ts";
import { callLimit, defaultOnePortLimits, destroyAfter, type OnePortLimits } from "./port-limits.ts";
import { tlsDoor } from "./tls-door.ts";
import type { Tls } from "./tls-files.ts";

export interface OnePortOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** Other processes of the same user listen on it too, and each gets a part of the connections. */
  readonly isShared?: boolean | undefined;
  readonly handler: NodeHandler;
  /** Serves what it can; the handler serves all else. */
  readonly leanCalls?: LeanCalls | undefined;
  /** Undefined: the port speaks plaintext. Otherwise it speaks TLS only, and takes up its files' changes. */
  readonly tls?: Tls | undefined;
  readonly limits?: Partial<OnePortLimits>;
  /**
   * Told what no client can be told: a handler that threw, a connection that could not be accepted, files of
   * TLS that are no good.
   */
  readonly onError?: (error: unknown) => void;
  /** Told when new connections get what the files of TLS have changed to. */
  readonly onTlsRenewed?: (tls: Tls) => void;
}

export interface OnePort {
  readonly port: number;
  /** The IP address it is bound to. */
  readonly address: string;
  /** Looks at the files of TLS now. Resolves when new connections get what they hold. */
  renewTls(): Promise<void>;
  /**
   * Stops accepting, tells clients (GOAWAY; Connection: close), lets calls in flight end, then cuts what is
   * left after `graceMs`. Resolves when no connection is left. A second call can only bring the cut forward.
   */
  close(graceMs: number): Promise<void>;
}

/**
 * One port for HTTP/1.1 and HTTP/2: which of them the client speaks is told by ALPN where the port speaks TLS
 * (RFC 9113 §3.2), and by the first bytes where it does not (prior knowledge, §3.3). Rejects with the system's
 * own error, e.g. EADDRINUSE, EACCES, ENOTFOUND.
 */
export async function listenOnePort(options: OnePortOptions): Promise<OnePort> {
  const limits = { ...defaultOnePortLimits, ...options.limits };
  const onError = options.onError ?? warn;
  const handler = contained(options.handler, onError);
  const began = callLimit(limits);
  const served = { handler, leanCalls: options.leanCalls, onError };
  const http1 = http1Door(served, limits, began);
  const http2 = http2Door(served, limits, began);
  const onRenewed = options.onTlsRenewed ?? (() => {});
  const tls = options.tls && tlsDoor(options.tls, limits.decideMs, { onRenewed, onFault: onError });
  /** Who has gone longest without a call's beginning or end stands first. */
  const sockets = new Set<Socket>();
  const undecided = new Set<Socket>();

  const watchEnd = (socket: Socket) => {
    // A reset is no news: 'close' follows it. Without a listener it would end the process.
    socket.on("error", () => {});
    socket.once("finish", () => destroyAfter(socket, limits.lingerMs));
  };

  // TCP's keep-alive finds the peers that vanished while a call was in flight.
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
  server.on("connection", (socket) => {
    makeRoom(sockets, limits.maxConnections);
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    watchEnd(socket);
    makeRoom(undecided, limits.maxUndecided);
    undecided.add(socket);
    socket.once("close", () => undecided.delete(socket));
    const decided = (stream: Socket, isHttp2: boolean) => {
      undecided.delete(socket);
      if (stream !== socket) watchEnd(stream);
      const onCall = () => {
        if (sockets.delete(socket)) sockets.add(socket);
      };
      (isHttp2 ? http2 : http1).accept(stream, { calls: 0, onCall });
    };
    if (tls === undefined) decideProtocol(socket, limits.decideMs, decided);
    else tls.accept(socket, decided);
  });
  server.once("listening", http1.start);
  server.once("close", http1.stop);
  // Elsewhere than on Linux node:cluster shares one socket between them.
  const reusePort = options.isShared === true && process.platform === "linux";
  server.listen({ host: options.host, port: options.port, reusePort });
  await once(server, "listening");
  server.on("error", onError);
  tls?.start();

  let closed: Promise<void> | undefined;
  const drain = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      tls?.stop();
      for (const socket of undecided) socket.destroy();
      http1.drain();
      http2.drain();
    });
  const { port, address } = server.address() as AddressInfo;
  return {
    port,
    address,
    renewTls: async () => tls?.renew(),
    close(graceMs) {
      closed ??= drain();
      const cut = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      return closed.finally(() => clearTimeout(cut));
    },
  };
}

/**
 * The oldest goes, not the newest: who calls does so within a round trip, who floods stays silent, and who is
 * turned away cannot call at all.
 */
function makeRoom(sockets: Set<Socket>, most: number): void {
  const [oldest] = sockets;
  if (oldest === undefined || sockets.size < most) return;
  oldest.destroy();
  sockets.delete(oldest);
}

/** RFC 9113 §3.4 */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Reads no more than it needs, gives it back to the socket and decides; or destroys the socket. */
function decideProtocol(
  socket: Socket,
  decideMs: number,
  decided: (socket: Socket, isHttp2: boolean) => void,
): void {
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
    decided(socket, agrees);
  };
  socket.on("data", read).on("end", destroy).on("close", settle);
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error));
}
