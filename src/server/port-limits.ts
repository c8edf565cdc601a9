import type { ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { getHeapStatistics } from "node:v8";

export interface OnePortLimits {
  /** Connections open at once. One more closes the one that has gone longest without a call. */
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
  /**
   * Calls in flight on all connections. While there are as many, each connection that calls has an equal share
   * of them instead, but two at least: one may be a stream that never ends.
   */
  readonly maxCalls: number;
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

/** What a call in flight may take of the heap: measured, those that take most are bidirectional streams. */
const CALL_BYTES = 64 * 1024;

export const defaultOnePortLimits: OnePortLimits = {
  maxConnections: 10_000,
  maxUndecided: 1_000,
  decideMs: 10_000,
  maxHeaderBytes: 16 * 1024,
  maxCallsPerConnection: 100,
  maxCalls: Math.floor(getHeapStatistics().heap_size_limit / 2 / CALL_BYTES),
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

/** The calls that one connection has in flight. */
export interface Calls {
  readonly count: number;
  /** Whether it has as many as it may have now. */
  readonly isFull: boolean;
  began(): void;
  ended(): void;
}

/** Counts the calls in flight on all connections. */
export function countCalls({ maxCalls, maxCallsPerConnection }: OnePortLimits) {
  let all = 0;
  let callers = 0;
  const most = () =>
    all < maxCalls
      ? maxCallsPerConnection
      : Math.min(maxCallsPerConnection, Math.max(2, Math.floor(maxCalls / callers)));

  /** @param onChange is told when a call begins, and when it ends. */
  return (onChange: () => void): Calls => {
    let count = 0;
    return {
      get count() {
        return count;
      },
      get isFull() {
        return count >= most();
      },
      began() {
        all += 1;
        count += 1;
        if (count === 1) callers += 1;
        onChange();
      },
      ended() {
        all -= 1;
        count -= 1;
        if (count === 0) callers -= 1;
        onChange();
      },
    };
  };
}
