import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Answer, Connection, OnBroken } from "./connection.ts";
import type { Field } from "./hpack.ts";

// HTTP/1.1 (RFC 9112) over a bare socket, one request in flight.

const END_OF_HEAD = Buffer.from("\r\n\r\n");
const END_OF_LINE = Buffer.from("\r\n");
const NOTHING = Buffer.alloc(0);

/** A request as it goes over the wire. */
export function http1Request(options: {
  readonly port: number;
  readonly path: string;
  readonly contentType: string;
  readonly headers: readonly Field[];
  readonly body: Uint8Array;
}): Buffer {
  const { port, path, contentType, headers, body } = options;
  const lines = [
    `POST ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    `Content-Type: ${contentType}`,
    "Connect-Protocol-Version: 1",
    "User-Agent: connect-bench/1.0",
    "Accept-Encoding: identity",
    `Content-Length: ${body.length}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), body]);
}

export async function openHttp1(options: {
  readonly port: number;
  readonly onBroken: OnBroken;
}): Promise<Connection> {
  const socket = connect({ port: options.port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  return new Http1Connection(socket, options.onBroken);
}

class Http1Connection implements Connection {
  readonly streams = 1;
  readonly #socket: Socket;
  #answered: ((answer: Answer) => void) | undefined;
  #received: Buffer = NOTHING;
  #isClosing = false;

  constructor(socket: Socket, onBroken: OnBroken) {
    this.#socket = socket;
    const broken = (error: Error) => {
      if (!this.#isClosing) {
        onBroken(error);
      }
    };
    socket.on("data", (bytes: Buffer) => {
      this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
      try {
        this.#answerWhereWhole();
      } catch (error) {
        broken(error as Error);
        socket.destroy();
      }
    });
    socket.on("error", broken);
    socket.on("close", () => broken(new Error("the server has closed a connection")));
  }

  send(request: Buffer, answered: (answer: Answer) => void): void {
    if (this.#answered !== undefined) {
      throw new Error("a connection of HTTP/1.1 has one request in flight");
    }
    this.#answered = answered;
    this.#socket.write(request);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    const closed = once(this.#socket, "close");
    this.#socket.destroy();
    await closed;
  }

  #answerWhereWhole(): void {
    const all = this.#received;
    const endOfHead = all.indexOf(END_OF_HEAD);
    if (endOfHead === -1) {
      return;
    }
    const head = all.toString("latin1", 0, endOfHead).toLowerCase();
    const start = endOfHead + END_OF_HEAD.length;
    const message = head.includes("transfer-encoding: chunked")
      ? readChunks(all, start)
      : readLength(all, start, head);
    const answered = this.#answered;
    if (message === undefined || answered === undefined) {
      return;
    }
    this.#received = NOTHING;
    this.#answered = undefined;
    answered({ status: head.slice(9, 12), message });
  }
}

const LENGTH = "content-length: ";

/** Undefined: there is more to come. */
function readLength(all: Buffer, start: number, head: string): Buffer | undefined {
  const at = head.indexOf(LENGTH);
  if (at === -1) {
    throw new Error("the server does not say how long its answer is");
  }
  const end = start + Number.parseInt(head.slice(at + LENGTH.length), 10);
  return all.length >= end ? all.subarray(start, end) : undefined;
}

/** RFC 9112 section 7.1. Undefined: there is more to come. */
function readChunks(all: Buffer, start: number): Buffer | undefined {
  const chunks: Buffer[] = [];
  for (let at = start; ; ) {
    const endOfSize = all.indexOf(END_OF_LINE, at);
    if (endOfSize === -1) {
      return undefined;
    }
    const size = Number.parseInt(all.toString("latin1", at, endOfSize), 16);
    const from = endOfSize + END_OF_LINE.length;
    at = from + size + END_OF_LINE.length;
    if (all.length < at) {
      return undefined;
    }
    if (size === 0) {
      return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
    }
    chunks.push(all.subarray(from, from + size));
  }
}
