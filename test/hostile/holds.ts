import {
  beginCall,
  beginning,
  data,
  endOfStream,
  envelope,
  frame,
  headers,
  number,
  page,
  preface,
  requestBlock,
  settings,
  windowUpdate,
} from "./frames.ts";
import { type Attack, hold } from "./strike.ts";

const CALL = "POST /latchkey.v1.AuthenticationService/Authenticate HTTP/1.1\r\nHost: latchkey.test\r\n";
const CALL_IN_JSON = `${CALL}Content-Type: application/json\r\n`;
const pageOf = (path: string) => `GET ${path} HTTP/1.1\r\nHost: latchkey.test\r\n\r\n`;

/** As many as one connection of HTTP/2 may have in flight. */
const STREAMS = Array.from({ length: 100 }, (_, at) => 2 * at + 1);
const onEach = (make: (stream: number) => Buffer) => Buffer.concat(STREAMS.map(make));
/** RFC 9113 §6.5.2: SETTINGS_INITIAL_WINDOW_SIZE is 0, and nothing may be answered but header sections. */
const closedWindows = frame(settings, 0, 0, Buffer.concat([Buffer.of(0, 4), number(0)]));

const beginWatch = beginning("/grpc.health.v1.Health/Watch", "application/grpc");
const beginReflection = beginning(
  "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
  "application/grpc",
);
/** `file_containing_symbol`, whose answer is hundreds of times as long. */
const symbol = Buffer.from("latchkey.v1.AuthenticationService");
const reflectionQuestion = envelope(Buffer.concat([Buffer.of(0x22, symbol.length), symbol]));

const aWatch = (stream: number) =>
  Buffer.concat([beginWatch(stream), frame(data, endOfStream, stream, envelope(Buffer.alloc(0)))]);
const aReflection = (stream: number) =>
  Buffer.concat([beginReflection(stream), frame(data, 0, stream, reflectionQuestion)]);

/** Connections that are held, and what is done on them slowly or not at all. */
export const HOLDS = {
  // More than may be undecided at once.
  "HTTP/2 prefaces that do not end": hold([{ opening: preface.subarray(0, 20) }], { lines: 1500 }),
  "HTTP/1.1 headers, bodies and chunks that come slowly": hold(
    [
      { opening: CALL, little: "X-A: b\r\n" },
      { opening: `${CALL_IN_JSON}Content-Length: 60000\r\n\r\n{`, little: " " },
      {
        opening: `${CALL_IN_JSON}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`,
        little: "1\r\n \r\n",
      },
    ],
    { lines: 300 },
  ),
  "HTTP/1.1 answers that are not read": hold([{ opening: pageOf("/.well-known/jwks.json").repeat(90) }], {
    lines: 50,
    reads: false,
  }),
  "HTTP/2 header blocks that do not end": hold(
    [{ opening: Buffer.concat([preface, frame(headers, endOfStream, 1, requestBlock)]) }],
    { lines: 300 },
  ),
  "HTTP/2 bodies that come slowly": hold(
    [
      {
        opening: Buffer.concat([preface, onEach(beginCall)]),
        little: onEach((stream) => frame(data, 0, stream, Buffer.from(" "))),
      },
    ],
    { lines: 10 },
  ),
  "HTTP/2 answers that are read byte by byte": hold(
    [
      {
        opening: Buffer.concat([preface, closedWindows, onEach(page)]),
        little: onEach((stream) => frame(windowUpdate, 0, stream, number(1))),
      },
    ],
    { lines: 10 },
  ),
  "HTTP/2 answers that are not read": hold([{ opening: Buffer.concat([preface, onEach(page)]) }], {
    lines: 20,
    reads: false,
  }),
  // More than may be open at once.
  "HTTP/2 streams that do not end": hold([{ opening: Buffer.concat([preface, onEach(aWatch)]) }], {
    lines: 12,
    atOnce: 4,
  }),
  // More calls than the heap has room for.
  "HTTP/2 streams whose long answers are not read": hold(
    [{ opening: Buffer.concat([preface, closedWindows, onEach(aReflection)]) }],
    { lines: 14, atOnce: 2 },
  ),
} satisfies Record<string, Attack>;

/** All that a connection can be that has no call in flight. */
export const IDLE = "idle connections";
export const IDLENESS = {
  [IDLE]: hold(
    [{ opening: pageOf("/livez") }, { opening: pageOf("/livez").slice(0, -2) }, { opening: preface }],
    { lines: 10_000, atOnce: 250 },
  ),
} satisfies Record<string, Attack>;
