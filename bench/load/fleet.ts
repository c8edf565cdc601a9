import { type Protocol, statusOf } from "../questions.ts";
import type { Answer, Connection } from "./connection.ts";
import type { Field } from "./hpack.ts";
import { http1Request, openHttp1 } from "./http1-connection.ts";
import { grpcBody, openGrpc } from "./http2-connection.ts";

/** A request that is ready to be sent, and what is right to be answered. */
export interface Prepared {
  readonly request: Buffer;
  readonly status: string;
  /** @throws Error where the answer is not the right one. */
  readonly check: (answer: Answer) => void;
}

/** What is asked next: without end, or undefined where there is nothing more. */
export type Traffic = () => Prepared | undefined;

export interface Destination {
  readonly port: number;
  /** Of the RPC. */
  readonly path: string;
  readonly protocol: Protocol;
  /** Of the RPC, such as the caller's own credential. */
  readonly headers: readonly Field[];
}

/** How many of the answers are read whole. Of each the status is. */
const CHECKED = 64;

/** The bytes of a request to somewhere. */
export function prepare(
  { port, path, protocol, headers }: Destination,
  message: Uint8Array,
  isAllowed: boolean,
  check: (answer: Answer) => void,
): Prepared {
  const contentType = protocol === "connect json" ? "application/json" : "application/proto";
  const request =
    protocol === "grpc"
      ? grpcBody(message)
      : http1Request({ port, path, contentType, headers, body: message });
  return { request, status: statusOf(protocol, isAllowed), check };
}

/** Connections to one server. */
export class Fleet {
  readonly connections: Connection[] = [];
  /** Rejects when anything goes wrong: what was measured then is nothing. */
  readonly failure: Promise<never>;
  readonly fail: (error: Error) => void;
  #answers = 0;
  #checked = CHECKED;

  constructor() {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.failure = promise;
    this.fail = reject;
  }

  /** @param connections how many. @param streams how many requests may be in flight on each. */
  async open(destination: Destination, connections: number, streams: number): Promise<this> {
    const { port, path, protocol, headers } = destination;
    const onBroken = this.fail;
    for (let at = 0; at < connections; at++) {
      this.connections.push(
        protocol === "grpc"
          ? await openGrpc({ port, path, headers, streams, onBroken })
          : await openHttp1({ port, onBroken }),
      );
    }
    return this;
  }

  /** Reads every answer whole from now on. */
  checkAll(): void {
    this.#checked = 1;
  }

  /** Sends one request and looks at its answer. */
  ask(connection: Connection, asked: Prepared, answered: () => void): void {
    connection.send(asked.request, (answer) => {
      if (answer.status !== asked.status) {
        const text = answer.message.toString("latin1").slice(0, 200);
        this.fail(new Error(`answered with the status "${answer.status}", not "${asked.status}": ${text}`));
        return;
      }
      if (this.#answers++ % this.#checked === 0) {
        try {
          asked.check(answer);
        } catch (error) {
          this.fail(error as Error);
          return;
        }
      }
      answered();
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.connections.map((connection) => connection.close()));
  }
}
