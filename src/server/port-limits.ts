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
   * Calls in flight on all connections. More gives up the oldest, but of no connection that has only two: who
   * calls now and then is not who floods.
   */
  readonly maxCalls: number;
  /** How long an HTTP/1.1 request's header section may take to come. */
  readonly headersMs: number;
  /** How long a whole request may take to come, on both versions. */
  readonly requestMs: number;
  /** How long an answer that is ready may wait for a client that reads nothing; on HTTP/2 up to twice as long. */
  readonly stallMs: number;
  /** How long an HTTP/1.1 connection may wait for its next request. Longer than a proxy's own is best. */
  readonly keepAliveMs: number;
  /** How long an HTTP/2 connection may be without a call. PINGs do not prolong it. */
  readonly idleSessionMs: number;
  /** How long we wait for the client to close its end once we have closed ours. */
  readonly lingerMs: number;
}

/** What a call in flight takes of the heap at most, as measured: a stream that goes both ways takes 90 KiB. */
const CALL_BYTES = 128 * 1024;
/** Of one connection: a stream that never ends, and what is called meanwhile. */
const SPARED_CALLS = 2;

export const defaultOnePortLimits: OnePortLimits = {
  maxConnections: 10_000,
  maxUndecided: 1_000,
  decideMs: 10_000,
  maxHeaderBytes: 16 * 1024,
  maxCallsPerConnection: 100,
  maxCalls: Math.floor(getHeapStatistics().heap_size_limit / 4 / CALL_BYTES),
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

/** What one connection does. */
export interface Activity {
  /** The calls that it has in flight. */
  calls: number;
  /** Told when a call begins, and when it ends. */
  readonly onCall: () => void;
}

/** Told when a call begins. @returns what is to be told when it has ended. */
export type Began = (connection: Activity, giveUp: () => void) => () => void;

interface Call {
  readonly connection: Activity;
  readonly giveUp: () => void;
}

/** Keeps a port to its `maxCalls`. */
export function callLimit({ maxCalls }: OnePortLimits): Began {
  /** The oldest first. */
  const inFlight = new Set<Call>();
  // Not at each call: those that are spared may be many, and are passed over each time.
  const quarter = Math.ceil(maxCalls / 4);
  let begun = 0;

  function end(call: Call): void {
    if (!inFlight.delete(call)) return;
    call.connection.calls -= 1;
    call.connection.onCall();
  }

  function giveUpOldest(): void {
    for (const call of inFlight) {
      if (inFlight.size <= 3 * quarter) return;
      if (call.connection.calls <= SPARED_CALLS) continue;
      end(call);
      call.giveUp();
    }
  }

  return (connection, giveUp) => {
    begun += 1;
    if (begun % quarter === 0) giveUpOldest();
    const call = { connection, giveUp };
    inFlight.add(call);
    connection.calls += 1;
    connection.onCall();
    return () => end(call);
  };
}
