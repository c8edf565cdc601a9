// Sends a request as it is, and reads the answer as it comes: nothing between looks at either.
import {
  type ClientHttp2Session,
  type ClientSessionOptions,
  connect as connectHttp2,
  constants,
} from "node:http2";
import { connect, type Socket } from "node:net";

export interface RawRequest {
  readonly verb: string;
  readonly path: string;
  /** Of HTTP/2 the pseudo-headers may be among them. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  readonly chunked: boolean;
  /** The client goes on to hold the request open. */
  readonly unfinished: boolean;
}

export interface RawAnswer {
  /** 0 where there is none. */
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
  readonly trailers: Headers;
  /** Whether HTTP/2's first headers ended the stream: gRPC's "Trailers-Only". */
  readonly isTrailersOnly?: boolean;
  /** How HTTP/2 ended the stream, where not as it should. */
  readonly reset: string;
  /** Whether the connection then serves another request. Undefined: one of them has ended it. */
  readonly goesOn?: boolean;
}

const UNTIL_GIVEN_UP = 10_000;

export async function exchangeHttp1(port: number, request: RawRequest): Promise<RawAnswer> {
  const { verb, path, headers, body, unfinished, chunked } = request;
  const lines = [
    `${verb} ${path} HTTP/1.1`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
    chunked ? "transfer-encoding: chunked" : `content-length: ${body.length + (unfinished ? 1000 : 0)}`,
  ];
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {});
  socket.setTimeout(UNTIL_GIVEN_UP, () => socket.destroy());
  socket.write(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  socket.write(chunked ? inChunks(body) : body);
  const answer = await readHttp1(socket, verb === "HEAD");
  const isLast = unfinished || answer.status === 0 || answer.headers.get("connection") === "close";
  let goesOn: boolean | undefined;
  if (!isLast) {
    socket.write("GET /livez HTTP/1.1\r\nhost: latchkey.test\r\n\r\n");
    const next = await readHttp1(socket, false);
    goesOn = next.status === 200 && next.body.toString() === "live\n";
  }
  socket.destroy();
  return { ...answer, ...(goesOn !== undefined && { goesOn }) };
}

function inChunks(body: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length; at += 16_000) {
    const piece = body.subarray(at, at + 16_000);
    pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n"));
  }
  return Buffer.concat([...pieces, Buffer.from("0\r\n\r\n")]);
}

/** Reads one answer, and whatever came with it. */
async function readHttp1(socket: Socket, isHead: boolean): Promise<RawAnswer> {
  let bytes = Buffer.alloc(0);
  return await new Promise((resolve) => {
    const closed = () =>
      resolve({ status: 0, headers: new Headers(), body: bytes, trailers: new Headers(), reset: "closed" });
    const read = (piece: Buffer) => {
      bytes = Buffer.concat([bytes, piece]);
      const answer = parseHttp1(bytes, isHead);
      if (answer !== undefined) {
        socket.off("data", read).off("close", closed);
        resolve(answer);
      }
    };
    socket.on("data", read).on("close", closed);
  });
}

/** @returns undefined where there is more to come. */
function parseHttp1(bytes: Buffer, isHead: boolean): RawAnswer | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end === -1) {
    return undefined;
  }
  const [first = "", ...lines] = bytes.subarray(0, end).toString("latin1").split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0);
  const headers = fieldsOf(lines);
  const rest = bytes.subarray(end + 4);
  const answer = { status, headers, trailers: new Headers(), reset: "" };
  if (headers.get("transfer-encoding") === "chunked") {
    const chunks = parseChunks(rest);
    return chunks && { ...answer, ...chunks };
  }
  const length = isHead ? 0 : Number(headers.get("content-length") ?? 0);
  return rest.length < length ? undefined : { ...answer, body: rest.subarray(0, length) };
}

function parseChunks(bytes: Buffer): { body: Buffer; trailers: Headers } | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd === -1) {
      return undefined;
    }
    const length = Number.parseInt(bytes.subarray(at, lineEnd).toString("latin1"), 16);
    at = lineEnd + 2;
    if (length === 0) {
      const end = bytes.indexOf("\r\n\r\n", lineEnd);
      const lines = bytes.subarray(at, end).toString("latin1").split("\r\n");
      return end === -1 ? undefined : { body: Buffer.concat(chunks), trailers: fieldsOf(lines) };
    }
    if (bytes.length < at + length + 2) {
      return undefined;
    }
    chunks.push(bytes.subarray(at, at + length));
    at += length + 2;
  }
}

function fieldsOf(lines: readonly string[]): Headers {
  const headers = new Headers();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon > 0) {
      headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    }
  }
  return headers;
}

/** Two of a header that should be one are sent as they are. */
const OPTIONS: ClientSessionOptions & { strictSingleValueFields: boolean } = {
  strictSingleValueFields: false,
};

/** On a connection of its own, so that what HTTP/2 refuses takes nothing else along. */
export async function exchangeHttp2(port: number, request: RawRequest): Promise<RawAnswer> {
  const session = connectHttp2(`http://127.0.0.1:${port}`, OPTIONS);
  session.on("error", () => {});
  try {
    const answer = await readHttp2(session, request);
    const next = await readHttp2(session, LIVENESS);
    return { ...answer, goesOn: next.status === 200 && next.body.toString() === "live\n" };
  } finally {
    session.destroy();
  }
}

const LIVENESS: RawRequest = {
  verb: "GET",
  path: "/livez",
  headers: [],
  body: Buffer.alloc(0),
  unfinished: false,
  chunked: false,
};

async function readHttp2(session: ClientHttp2Session, request: RawRequest): Promise<RawAnswer> {
  const { verb, path, headers, body, unfinished } = request;
  const fields: Record<string, string | string[]> = { ":method": verb, ":path": path };
  for (const [name, value] of headers) {
    const before = fields[name];
    fields[name] = before === undefined ? value : [before, value].flat();
  }
  const stream = session.request(fields, { endStream: false });
  const answer = { status: 0, headers: new Headers(), trailers: new Headers(), isTrailersOnly: false };
  stream.on("response", (received, flags) => {
    answer.isTrailersOnly = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    answer.status = received[":status"] ?? 0;
    answer.headers = webHeaders(received);
  });
  stream.on("trailers", (received) => {
    answer.trailers = webHeaders(received);
  });
  const pieces: Buffer[] = [];
  stream.on("data", (piece) => pieces.push(piece));
  stream.on("error", () => {});
  stream.setTimeout(UNTIL_GIVEN_UP, () => stream.close(constants.NGHTTP2_CANCEL));
  stream.write(body);
  if (!unfinished) {
    stream.end();
  }
  // Who is answered early is not always reset.
  await new Promise((resolve) => stream.once("close", resolve).once("end", () => setImmediate(resolve)));
  return { ...answer, body: Buffer.concat(pieces), reset: resetOf(stream.rstCode) };
}

function webHeaders(received: Readonly<Record<string, unknown>>): Headers {
  return new Headers(
    Object.entries(received)
      .filter(([name]) => !name.startsWith(":"))
      .map(([name, value]) => [name, String(value)]),
  );
}

/** RFC 9113 section 7, by their numbers. */
const RESETS = [
  "",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
];

function resetOf(code: number | undefined): string {
  return RESETS[code ?? 0] ?? String(code);
}
