import { constants as http2Constants, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { OnePortLimits } from "./port-limits.ts";

/** A stream that has not closed yet. */
export class OpenStream {
  readonly stream: ServerHttp2Stream;
  readonly socket: Socket;
  /** Times are those of `performance.now()`. */
  readonly since: number;
  /** What is told when it closes. */
  exchange: { closed(): void } | undefined;
  /** Since when an answer waits for its client. */
  #waitsSince: number | undefined;
  /** Since when it should be closed. */
  #overSince: number | undefined;

  constructor(stream: ServerHttp2Stream, socket: Socket, now: number) {
    this.stream = stream;
    this.socket = socket;
    this.since = now;
  }

  cancel(): void {
    this.stream.close(http2Constants.NGHTTP2_CANCEL);
    this.#overSince ??= performance.now();
  }

  /** Something of the answer has gone out. */
  moves(): void {
    this.#waitsSince = undefined;
  }

  /** Ends what has taken too long. */
  check({ requestMs, stallMs }: OnePortLimits, now: number): void {
    const { stream } = this;
    if (this.#overSince === undefined && stream.aborted) {
      this.#overSince = now;
    }
    if (this.#overSince !== undefined) {
      // Who reads nothing does not read RST_STREAM either, and Node keeps the stream until that is sent.
      if (now - this.#overSince >= stallMs) this.socket.destroy();
      return;
    }
    // Not stream.setTimeout(): where the session has failed, it holds on to the stream until it runs out.
    this.#waitsSince = stream.writableLength > 0 ? (this.#waitsSince ?? now) : undefined;
    const isStalled = this.#waitsSince !== undefined && now - this.#waitsSince >= stallMs;
    // Not by 'end': a handler that answers with a stream need not have read so far.
    const isLate = now - this.since >= requestMs && !stream.state.remoteClose;
    if (isStalled || isLate) this.cancel();
  }
}

/**
 * Looks at the streams of all connections by turns, each time a quarter of the shortest limit has passed: one timer
 * for each of them would cost more than what is answered on it.
 */
export class OpenStreams {
  readonly #limits: OnePortLimits;
  readonly #streams = new Set<OpenStream>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: OnePortLimits) {
    this.#limits = limits;
  }

  add(stream: ServerHttp2Stream, socket: Socket): OpenStream {
    const open = new OpenStream(stream, socket, performance.now());
    this.#streams.add(open);
    this.#timer ??= setInterval(
      () => this.#sweep(),
      Math.ceil(Math.min(this.#limits.requestMs, this.#limits.stallMs) / 4),
    );
    return open;
  }

  delete(open: OpenStream): void {
    this.#streams.delete(open);
  }

  #sweep(): void {
    if (this.#streams.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    const now = performance.now();
    for (const open of this.#streams) open.check(this.#limits, now);
  }
}
