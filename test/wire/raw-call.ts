import { constants } from "node:http2";
import { connect, type Socket } from "node:net";
import { fromBinary } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";

/** A header field that goes onto the wire as it stands: each character is one byte. */
export type Field = readonly [name: string, value: string];

export interface RawAnswer {
  /** 0 where there was no answer. */
  readonly status: number;
  /** The header section, in lower case, of HTTP/1.1; else empty. */
  readonly head: string;
  readonly body: Buffer;
  /** How HTTP itself refused the call, of HTTP/2. */
  readonly refusal: string;
}

/** Longer than any answer takes. */
const PATIENCE_MILLIS = 10_000;

/** What Connect sends in JSON, by hand: nothing between the test and the socket looks at a header. */
const CONNECT_JSON: readonly Field[] = [
  ["content-type", "application/json"],
  ["connect-protocol-version", "1"],
];
/** The same for all calls, so that two answers that say the same are the same to the byte. */
const REQUEST_ID: Field = ["x-request-id", "test"];

/** Makes one call of Connect in JSON over HTTP/1.1. */
export async function callHttp1(
  port: number,
  path: string,
  fields: readonly Field[],
  body: string | Buffer = "{}",
): Promise<RawAnswer> {
  const own = hasContentType(fields) ? [] : CONNECT_JSON;
  const lines = [
    `POST ${path} HTTP/1.1`,
    "host: latchkey.test",
    "connection: close",
    `content-length: ${Buffer.byteLength(body)}`,
    ...[...own, REQUEST_ID, ...fields].map(([name, value]) => `${name}: ${value}`),
  ];
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const pieces: Buffer[] = [];
  socket.on("data", (piece) => pieces.push(piece));
  // A refusal may close the connection before all of the call was read.
  socket.on("error", () => {});
  socket.write(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), Buffer.from(body)]));
  await closed(socket);
  const text = Buffer.concat(pieces);
  const end = text.indexOf("\r\n\r\n");
  const head = text.subarray(0, Math.max(end, 0)).toString("latin1").toLowerCase();
  const status = Number(/^http\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
  return { status, head, body: text.subarray(end + 4), refusal: "" };
}

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const GOAWAY = 7;
const CONTINUATION = 9;
const END_STREAM = 1;
const END_HEADERS = 4;
const FRAME = 16_384;

/** Makes one call of Connect in JSON over HTTP/2, frame by frame: what a well-behaved client would not send. */
export async function callHttp2(
  port: number,
  path: string,
  fields: readonly Field[],
  body: string | Buffer = "{}",
): Promise<RawAnswer> {
  const block = Buffer.concat(
    [
      [":method", "POST"],
      [":scheme", "http"],
      [":authority", "latchkey.test"],
      [":path", path],
      ...(hasContentType(fields) ? [] : CONNECT_JSON),
      REQUEST_ID,
      ...fields,
    ].map(([name = "", value = ""]) => literal(name, value)),
  );
  const blocks = [];
  for (let at = 0; at < block.length; at += FRAME) {
    const isLast = at + FRAME >= block.length;
    const type = at === 0 ? HEADERS : CONTINUATION;
    blocks.push(frame(type, isLast ? END_HEADERS : 0, 1, block.subarray(at, at + FRAME)));
  }
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {});
  socket.write(
    Buffer.concat([
      Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      frame(SETTINGS, 0, 0, Buffer.alloc(0)),
      ...blocks,
      frame(DATA, END_STREAM, 1, Buffer.from(body)),
    ]),
  );
  const answer: Buffer[] = [];
  let status = 0;
  let refusal = "";
  let rest = Buffer.alloc(0);
  const read = ({ type, flags, stream, payload }: Frame) => {
    if (type === RST_STREAM) {
      refusal ||= `reset ${errorName(payload.readUInt32BE(0))}`;
    } else if (type === GOAWAY && payload.readUInt32BE(4) !== 0) {
      refusal ||= `goaway ${errorName(payload.readUInt32BE(4))}`;
    } else if (type === HEADERS && stream === 1) {
      status ||= statusIn(payload);
    } else if (type === DATA) {
      answer.push(payload);
    }
    return type === RST_STREAM || (stream === 1 && (flags & END_STREAM) !== 0 && type <= HEADERS);
  };
  socket.on("data", (piece) => {
    rest = Buffer.concat([rest, piece]);
    for (let next = firstFrame(rest); next !== undefined; next = firstFrame(rest)) {
      rest = rest.subarray(next.length);
      if (read(next)) {
        socket.destroy();
        return;
      }
    }
  });
  await closed(socket);
  return { status, head: "", body: Buffer.concat(answer), refusal };
}

/** What an answer says, in a word: its reason, `accepted`, or how HTTP refused the call. */
export function verdictOf({ status, body, refusal }: RawAnswer): string {
  if (body.length > 0) {
    return reasonIn(body.toString()) ?? (status === 200 ? "accepted" : `HTTP ${status}`);
  }
  if (refusal !== "") {
    return refusal;
  }
  return status === 0 ? "closed" : `HTTP ${status}`;
}

interface ConnectErrorJson {
  readonly code?: string;
  readonly message?: string;
  readonly details?: readonly { readonly type: string; readonly value: string }[];
}

/** The reason in an error of Connect in JSON; undefined where it is an answer. */
export function reasonIn(body: string): string | undefined {
  const { code, message, details = [] } = JSON.parse(body) as ConnectErrorJson;
  if (code === undefined) {
    return undefined;
  }
  const info = details.find(({ type }) => type === ErrorInfoSchema.typeName);
  return info === undefined
    ? `${code}, no reason: ${message}`
    : fromBinary(ErrorInfoSchema, base64Decode(info.value)).reason;
}

/** Not `once()`, which an error before the end would make reject. Who is not answered gives up. */
async function closed(socket: Socket): Promise<void> {
  socket.setTimeout(PATIENCE_MILLIS, () => socket.destroy());
  await new Promise((resolve) => socket.once("close", resolve));
}

function hasContentType(fields: readonly Field[]): boolean {
  return fields.some(([name]) => name.toLowerCase() === "content-type");
}

/** RFC 7541 section 6.2.2: a literal field without indexing, with a new name, neither Huffman-coded. */
function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(0), text(name), text(value)]);
}

/** RFC 7541 sections 5.1 and 5.2. */
function text(characters: string): Buffer {
  const bytes = Buffer.from(characters, "latin1");
  const length: number[] = [];
  if (bytes.length < 127) {
    length.push(bytes.length);
  } else {
    length.push(127);
    let left = bytes.length - 127;
    for (; left >= 128; left = left >>> 7) {
      length.push((left % 128) + 128);
    }
    length.push(left);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** The statuses of RFC 7541 appendix A, whose indices begin at 8. */
const STATIC_STATUSES = [200, 204, 206, 304, 400, 404, 500];
/** The codes of the digits in RFC 7541 appendix B. */
const DIGITS = [
  "00000",
  "00001",
  "00010",
  "011001",
  "011010",
  "011011",
  "011100",
  "011101",
  "011110",
  "011111",
];

/** The `:status` that begins a response's header block. */
function statusIn(block: Buffer): number {
  const [first = 0, length = 0] = block;
  if (first >= 0x88) {
    return STATIC_STATUSES[first - 0x88] ?? 0;
  }
  const text = block.subarray(2, 2 + (length & 0x7f));
  return Number((length & 0x80) === 0 ? text.toString("latin1") : huffmanDigits(text));
}

function huffmanDigits(text: Buffer): string {
  let bits = [...text].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let digits = "";
  while (digits.length < 3) {
    const digit = DIGITS.findIndex((code) => bits.startsWith(code));
    digits += digit;
    bits = bits.slice(DIGITS[digit]?.length);
  }
  return digits;
}

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
  /** Of the whole frame. */
  readonly length: number;
}

/** RFC 9113 section 4.1. */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function firstFrame(bytes: Buffer): Frame | undefined {
  const length = bytes.length < 9 ? Number.POSITIVE_INFINITY : 9 + bytes.readUIntBE(0, 3);
  if (bytes.length < length) {
    return undefined;
  }
  return {
    type: bytes.readUInt8(3),
    flags: bytes.readUInt8(4),
    stream: bytes.readUInt32BE(5),
    payload: bytes.subarray(9, length),
    length,
  };
}

function errorName(code: number): string {
  const names = Object.entries(constants).filter(([name]) => /^NGHTTP2_[A-Z_]*$/.test(name));
  const known = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "ENHANCE_YOUR_CALM", "COMPRESSION_ERROR"];
  const found = names.find(
    ([name, value]) => value === code && known.includes(name.slice("NGHTTP2_".length)),
  );
  return found?.[0].slice("NGHTTP2_".length) ?? String(code);
}
