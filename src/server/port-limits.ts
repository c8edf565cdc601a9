import type { ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";

export interface OnePortLimits {
  /** Connections open at once. One more is closed as it arrives. */
  readonly maxConnections: number;
  /**
   * Connections that have not shown yet which protocol they speak: over TLS, whose handshake has not ended. One
   * more closes the oldest of them.
   */
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

/** Cuts a socket after a while, unless `ending` closes before. */
export function destroyAfter(socket: Socket, ms: number, ending: Socket | ServerHttp2Stream = socket): void {
  const timer = setTimeout(() => socket.destroy(), ms);
  ending.once("close", () => clearTimeout(timer));
}
