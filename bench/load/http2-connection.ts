import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Answer, Connection, OnBroken } from "./connection.ts";
import { encodeRepeated, type Field, HpackDecoder } from "./hpack.ts";

// HTTP/2 (RFC 9113) over a bare socket: requests are copied from what was prepared, and of what comes back only that
// is read which tells whether the answer is right.

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
const FRAME_HEADER = 9;
const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const CONTINUATION = 9;
const ACK = 1;
const END_STREAM = 1;
const END_HEADERS = 4;
const INITIAL_WINDOW_SIZE = 4;
const DEFAULT_WINDOW = 65_535;
const LARGEST_WINDOW = 2 ** 31 - 1;
const LARGEST_FRAME = 16_384;
/** Before the message: not compressed, and its length. */
const GRPC_PREFIX = 5;
const NOTHING = Buffer.alloc(0);

/** The DATA frames of a gRPC request, without their stream. */
export function grpcBody(message: Uint8Array): Buffer {
  const body = Buffer.alloc(GRPC_PREFIX + message.length);
  body.writeUInt32BE(message.length, 1);
  body.set(message, GRPC_PREFIX);
  const frames: Buffer[] = [];
  for (let at = 0; at < body.length; at += LARGEST_FRAME) {
    const part = body.subarray(at, at + LARGEST_FRAME);
    const isLast = at + part.length === body.length;
    frames.push(frameOf(DATA, isLast ? END_STREAM : 0, 0, part));
  }
  return Buffer.concat(frames);
}

function frameOf(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const frame = Buffer.alloc(FRAME_HEADER + payload.length);
  frame.writeUIntBE(payload.length, 0, 3);
  frame.writeUInt8(type, 3);
  frame.writeUInt8(flags, 4);
  frame.writeUInt32BE(stream, 5);
  frame.set(payload, FRAME_HEADER);
  return frame;
}

function windowUpdate(by: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(by);
  return frameOf(WINDOW_UPDATE, 0, 0, payload);
}

interface InFlight {
  readonly answered: (answer: Answer) => void;
  status: string;
  message: Buffer;
}

/** A request of which not all frames are sent. */
interface Waiting {
  readonly request: Buffer;
  readonly answered: (answer: Answer) => void;
  /** Of its stream, once it has one. */
  id: number;
  /** How many of its bytes are sent. */
  sent: number;
}

export async function openGrpc(options: {
  readonly port: number;
  readonly path: string;
  readonly headers: readonly Field[];
  readonly streams: number;
  readonly onBroken: OnBroken;
}): Promise<Connection> {
  const { port, path, headers, streams, onBroken } = options;
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const fields: Field[] = [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", `127.0.0.1:${port}`],
    ["content-type", "application/grpc+proto"],
    ["te", "trailers"],
    ["user-agent", "grpc-bench/1.0"],
    ["grpc-accept-encoding", "identity"],
    ...headers,
  ];
  return new Http2Connection(socket, fields, streams, onBroken);
}

class Http2Connection implements Connection {
  readonly streams: number;
  readonly #socket: Socket;
  readonly #decoder = new HpackDecoder();
  readonly #next: Buffer;
  #headers: Buffer;
  readonly #inFlight = new Map<number, InFlight>();
  #streamId = 1;
  /** What the server still takes on this connection, and for the body of one request. */
  #window = DEFAULT_WINDOW;
  #streamWindow = DEFAULT_WINDOW;
  #received = 0;
  readonly #waiting: Waiting[] = [];
  #out: Buffer[] = [];
  #isFlushDue = false;
  #rest: Buffer = NOTHING;
  #isClosing = false;

  constructor(socket: Socket, fields: readonly Field[], streams: number, onBroken: OnBroken) {
    this.streams = streams;
    this.#socket = socket;
    const { first, next } = encodeRepeated(fields);
    this.#headers = frameOf(HEADERS, END_HEADERS, 0, first);
    this.#next = frameOf(HEADERS, END_HEADERS, 0, next);
    const settings = Buffer.alloc(6);
    settings.writeUInt16BE(INITIAL_WINDOW_SIZE, 0);
    settings.writeUInt32BE(LARGEST_WINDOW, 2);
    this.#write(PREFACE);
    this.#write(frameOf(SETTINGS, 0, 0, settings));
    this.#write(windowUpdate(LARGEST_WINDOW - DEFAULT_WINDOW));
    const broken = (error: Error) => {
      if (!this.#isClosing) {
        onBroken(error);
      }
    };
    socket.on("data", (bytes: Buffer) => {
      try {
        this.#read(bytes);
      } catch (error) {
        broken(error as Error);
        socket.destroy();
      }
    });
    socket.on("error", broken);
    socket.on("close", () => broken(new Error("the server has closed a connection")));
  }

  send(request: Buffer, answered: (answer: Answer) => void): void {
    // A longer body would need a window of its own for each stream; these are all shorter.
    if (request.length > this.#streamWindow) {
      throw new Error("a request is larger than what a stream takes at once");
    }
    this.#waiting.push({ request, answered, id: 0, sent: 0 });
    if (this.#waiting.length === 1) {
      this.#sendWaiting();
    }
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    const closed = once(this.#socket, "close");
    this.#socket.destroy();
    await closed;
  }

  #write(bytes: Buffer): void {
    this.#out.push(bytes);
    if (!this.#isFlushDue) {
      this.#isFlushDue = true;
      queueMicrotask(() => this.#flush());
    }
  }

  #flush(): void {
    this.#isFlushDue = false;
    const out = this.#out;
    this.#out = [];
    if (!this.#socket.destroyed) {
      this.#socket.write(out.length === 1 ? (out[0] as Buffer) : Buffer.concat(out));
    }
  }

  #read(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (all.length - at >= FRAME_HEADER) {
      const length = all.readUIntBE(at, 3);
      const end = at + FRAME_HEADER + length;
      if (end > all.length) {
        break;
      }
      this.#frame(
        all[at + 3] as number,
        all[at + 4] as number,
        all.readUInt32BE(at + 5),
        all,
        at + FRAME_HEADER,
        end,
      );
      at = end;
    }
    this.#rest = at === all.length ? NOTHING : all.subarray(at);
  }

  #frame(type: number, flags: number, id: number, all: Buffer, start: number, end: number): void {
    switch (type) {
      case DATA:
        this.#data(id, all.subarray(start, end));
        this.#endWhereDue(flags, id);
        return;
      case HEADERS:
        this.#fields(id, flags, all.subarray(start, end));
        this.#endWhereDue(flags, id);
        return;
      case SETTINGS:
        if ((flags & ACK) === 0) {
          this.#settings(all.subarray(start, end));
          this.#write(frameOf(SETTINGS, ACK, 0, NOTHING));
        }
        return;
      case PING:
        if ((flags & ACK) === 0) {
          this.#write(frameOf(PING, ACK, 0, all.subarray(start, end)));
        }
        return;
      case WINDOW_UPDATE:
        if (id === 0) {
          this.#window += all.readUInt32BE(start);
          this.#sendWaiting();
        }
        return;
      case RST_STREAM:
      case GOAWAY:
      case CONTINUATION:
        throw new Error(`the server has sent a frame of the type ${type}`);
    }
  }

  #data(id: number, part: Buffer): void {
    const call = this.#inFlight.get(id);
    if (call !== undefined) {
      call.message = call.message.length === 0 ? part : Buffer.concat([call.message, part]);
    }
    this.#received += part.length;
    if (this.#received > LARGEST_WINDOW / 2) {
      this.#write(windowUpdate(this.#received));
      this.#received = 0;
    }
  }

  #fields(id: number, flags: number, block: Buffer): void {
    if ((flags & ~(END_STREAM | END_HEADERS)) !== 0 || (flags & END_HEADERS) === 0) {
      throw new Error("the server has sent a header block in a form that is not read here");
    }
    const call = this.#inFlight.get(id);
    this.#decoder.decode(block, (name, value) => {
      if (call !== undefined && name === "grpc-status") {
        call.status = value;
      }
    });
  }

  #endWhereDue(flags: number, id: number): void {
    const call = this.#inFlight.get(id);
    if ((flags & END_STREAM) !== 0 && call !== undefined) {
      this.#inFlight.delete(id);
      call.answered({ status: call.status, message: call.message.subarray(GRPC_PREFIX) });
    }
  }

  #settings(payload: Buffer): void {
    for (let at = 0; at < payload.length; at += 6) {
      if (payload.readUInt16BE(at) === INITIAL_WINDOW_SIZE) {
        this.#streamWindow = payload.readUInt32BE(at + 2);
      }
    }
  }

  /** Sends as many of the waiting frames as the server's window has room for. */
  #sendWaiting(): void {
    for (let call = this.#waiting[0]; call !== undefined; call = this.#waiting[0]) {
      const { request } = call;
      const from = call.sent;
      while (call.sent < request.length) {
        const length = request.readUIntBE(call.sent, 3);
        if (length > this.#window) {
          break;
        }
        this.#window -= length;
        call.sent += FRAME_HEADER + length;
      }
      if (call.sent > from) {
        this.#sendPart(call, from);
      }
      if (call.sent < request.length) {
        return;
      }
      this.#waiting.shift();
    }
  }

  #sendPart(call: Waiting, from: number): void {
    const isFirst = from === 0;
    const headers = isFirst ? this.#headers : NOTHING;
    const bytes = Buffer.allocUnsafe(headers.length + call.sent - from);
    headers.copy(bytes);
    call.request.copy(bytes, headers.length, from, call.sent);
    if (isFirst) {
      this.#headers = this.#next;
      call.id = this.#streamId;
      this.#streamId += 2;
      this.#inFlight.set(call.id, { answered: call.answered, status: "", message: NOTHING });
    }
    for (let at = 0; at < bytes.length; at += FRAME_HEADER + bytes.readUIntBE(at, 3)) {
      bytes.writeUInt32BE(call.id, at + 5);
    }
    this.#write(bytes);
  }
}
