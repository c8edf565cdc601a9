// Wrong input, and the answer that each protocol publishes for it. One table, which is the test's input and
// what docs/wire.md is made from.
import { brotliCompressSync, gzipSync } from "node:zlib";

/** How a call can be written onto the wire. */
export const PROTOCOLS = ["gRPC", "gRPC-Web", "Connect unary", "Connect stream"] as const;
export type Protocol = (typeof PROTOCOLS)[number];
export type HttpVersion = "1.1" | "2";

/** The status of gRPC (statuscodes.md) and the HTTP status of Connect (protocol reference, "Error Codes"). */
export const CODES = {
  ok: { grpc: 0, http: 200 },
  invalid_argument: { grpc: 3, http: 400 },
  deadline_exceeded: { grpc: 4, http: 504 },
  resource_exhausted: { grpc: 8, http: 429 },
  unimplemented: { grpc: 12, http: 501 },
  internal: { grpc: 13, http: 500 },
  unauthenticated: { grpc: 16, http: 401 },
} as const;
export type CodeName = keyof typeof CODES;

/** A code in the form of the protocol, an answer of HTTP alone, or the way in which HTTP/2 refuses a stream. */
export type Answer =
  | { readonly code: CodeName; readonly http?: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly http: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly reset: string };

/** Whether it is one answer for all. */
export function isAnswer(answer: Fault["answer"]): answer is Answer {
  return "code" in answer || "http" in answer || "reset" in answer;
}

/** What a method takes: one message and one answer, one and many, or many and many. */
export type CallKind = "unary" | "server stream" | "bidi";

/** What differs from a right call. */
export interface Sent {
  /** The message, in protobuf. */
  readonly message?: Buffer;
  /** The message, in JSON. */
  readonly json?: string | Buffer;
  /** The whole body, as it is. */
  readonly body?: Buffer;
  /** The flags of the message's envelope. */
  readonly flags?: number;
  readonly verb?: string;
  readonly path?: string;
  /** Of a call by GET of a method without side effects. */
  readonly query?: string;
  /** By their names. Null leaves one out that would be sent, an array sends one for each. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | null>>;
  /** The headers of one protocol. */
  readonly headersOf?: Readonly<Partial<Record<Protocol, Readonly<Record<string, string>>>>>;
  /** Of HTTP/1.1: the body's length is not told before. That of HTTP/2 never is. */
  readonly chunked?: boolean;
  /** The body never ends. */
  readonly unfinished?: boolean;
}

export interface Fault {
  readonly fault: string;
  readonly sent: Sent;
  /** By protocol, or for all that it concerns. */
  readonly answer: Answer | Readonly<Partial<Record<Protocol, Answer>>>;
  /** Where the answer is published. */
  readonly source: string;
  /** The kinds of methods that it can happen to; by default all. */
  readonly kinds?: readonly CallKind[];
  /** Where it concerns one version of HTTP only. */
  readonly http?: HttpVersion;
  /** Where Latchkey does not answer as is published, and why. */
  readonly deviation?: string;
}

export interface FaultGroup {
  readonly title: string;
  readonly faults: readonly Fault[];
}

/** May never come back in an answer. */
export const SECRET = "hunter2";

const GRPC_STATUS = "grpc statuscodes.md";
const GRPC_HTTP2 = "grpc PROTOCOL-HTTP2.md";
const GRPC_WEB = "grpc PROTOCOL-WEB.md";
const GRPC_COMPRESSION = "grpc compression.md";
const CONNECT = "Connect protocol reference";
const PROTO_JSON = "ProtoJSON format";
const RFC_HTTP = "RFC 9110";
const RFC_HTTP1 = "RFC 9112";
const RFC_HTTP2 = "RFC 9113";
const DESIGN = "Latchkey's contract";

const OK: Answer = { code: "ok" };
const INVALID: Answer = { code: "invalid_argument" };
const TOO_LARGE: Answer = { code: "resource_exhausted" };
const DEADLINE: Answer = { code: "deadline_exceeded" };
const NOT_INTERNAL =
  "gRPC's own libraries say `internal`. The fault is the client's, so it is told so by every protocol, as connect-go does";
const NOT_UNKNOWN =
  "Google's parsers take it for a field that they do not know. protobuf-es reads a known field as what it is declared, and refuses where that does not fit";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
const utf8 = (text: string): Buffer => Buffer.from(text);
/** An envelope: flags, length, message. */
const envelope = (message: Buffer, flags = 0, length = message.length): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
};
/** An unknown field with so many bytes of zeros, which is a message that every method takes. */
const padding = (bytes: number): Buffer => {
  const length = [(bytes & 127) | 128, ((bytes >> 7) & 127) | 128, ((bytes >> 14) & 127) | 128, bytes >> 21];
  return Buffer.concat([hex("a2 06"), Buffer.from(length), Buffer.alloc(bytes)]);
};
const MOST = 64 * 1024;

const ENVELOPED = ["gRPC", "gRPC-Web", "Connect stream"] as const;
/** The same answer of those protocols whose messages stand in envelopes. */
const enveloped = (answer: Answer): Partial<Record<Protocol, Answer>> =>
  Object.fromEntries(ENVELOPED.map((protocol) => [protocol, answer]));
const connect = (answer: Answer): Partial<Record<Protocol, Answer>> => ({
  "Connect unary": answer,
  "Connect stream": answer,
});

const PROTOBUF: FaultGroup = {
  title: "Protobuf",
  faults: (
    [
      ["a field's tag is cut short", hex("ff")],
      ["a string is shorter than its length says", hex("0a 05 61")],
      ["a length is larger than any message", hex("0a ff ff ff ff 0f")],
      ["a varint is longer than ten bytes", hex("0a ff ff ff ff ff ff ff ff ff ff ff 01")],
      ["a string is sent as a number", hex("08 01")],
      ["a field's number is 0", hex("02 00")],
      ["a wire type does not exist", hex("0e")],
      ["a group ends that has not begun", hex("0c")],
      ["a group does not end", hex("a3 06")],
      ["groups are nested 200 deep", hex("a3 06".repeat(200) + "a4 06".repeat(200))],
      ["groups are nested as deep as a message can hold", hex("a3 06".repeat(32_000))],
      ["a string is not UTF-8", hex("0a 02 ff fe")],
      ["a string is UTF-8 in a longer form than needed", hex("0a 02 c0 80")],
      ["a string holds half of a surrogate pair", hex("0a 03 ed a0 80")],
    ] as const
  ).map(([fault, message]) => ({
    fault,
    sent: { message },
    answer: INVALID,
    source: `${GRPC_STATUS}; ${DESIGN}`,
    deviation: fault === "a string is sent as a number" ? NOT_UNKNOWN : NOT_INTERNAL,
  })),
};

const PROTOBUF_FINE: FaultGroup = {
  title: "Protobuf that is in order",
  faults: [
    {
      fault: "the message is empty",
      sent: { message: hex("") },
      answer: OK,
      source: "protobuf encoding",
      kinds: ["unary", "bidi"],
    },
    {
      fault: "there is a field that the service does not know",
      sent: { message: hex("a0 06 01") },
      answer: OK,
      source: "protobuf encoding",
      kinds: ["unary"],
    },
  ],
};

const json = (fault: string, text: string | Buffer, source: string, answer: Answer = INVALID): Fault => ({
  fault,
  sent: { json: text },
  answer,
  source,
  kinds: ["unary", "server stream"],
});
const RFC_JSON = "RFC 8259";

const JSON_GROUP: FaultGroup = {
  title: "JSON",
  faults: [
    json("a value is not JSON", `{"service": ${SECRET}}`, RFC_JSON),
    json("it is cut short", `{"service": "${SECRET}`, RFC_JSON),
    json("it ends and goes on", `{} ${SECRET}`, RFC_JSON),
    json("there is a comment", `{/* ${SECRET} */}`, RFC_JSON),
    json("a comma is too many", `{"service": "${SECRET}",}`, RFC_JSON),
    json("there is nothing", "", RFC_JSON),
    json("it is no object but null", "null", PROTO_JSON),
    json("it is no object but a list", `["${SECRET}"]`, PROTO_JSON),
    json("it is no object but a text", `"${SECRET}"`, PROTO_JSON),
    json("a text is expected and a number comes", '{"service": 12345}', PROTO_JSON),
    json("a text is expected and an object comes", `{"service": {"${SECRET}": 1}}`, PROTO_JSON),
    json("a name occurs twice", `{"service": "", "service": "${SECRET}"}`, PROTO_JSON),
    json("a name occurs twice, once with an escape", `{"service": "", "\\u0073ervice": ""}`, PROTO_JSON),
    json("a field is not known", `{"service": "", "servise": "${SECRET}"}`, PROTO_JSON),
    json("a field is named as JavaScript's prototype", `{"__proto__": {"service": "${SECRET}"}}`, PROTO_JSON),
    json("a text holds half of a surrogate pair", '{"service": "\\ud800"}', PROTO_JSON),
    json("a text is not UTF-8", Buffer.concat([utf8('{"service": "'), hex("ff fe"), utf8('"}')]), RFC_JSON),
    json("it is UTF-16", Buffer.from('{"service": ""}', "utf16le"), RFC_JSON),
    json(
      "lists are nested 30,000 deep",
      `{"service": ${"[".repeat(30_000)}${"]".repeat(30_000)}}`,
      PROTO_JSON,
    ),
    json("lists are nested and do not end", "[".repeat(60_000), RFC_JSON),
    json("it begins with a byte order mark", Buffer.concat([hex("ef bb bf"), utf8("{}")]), RFC_JSON, OK),
  ].map((fault) => (fault.answer === OK ? { ...fault, kinds: ["unary"] } : fault)),
};

const FRAMES: FaultGroup = {
  title: "Envelopes",
  faults: [
    {
      fault: "an envelope's head is cut short",
      sent: { body: hex("00 00 00") },
      answer: enveloped(INVALID),
      source: "Connect conformance suite: `internal` or `invalid_argument`",
    },
    {
      fault: "an envelope ends after its head",
      sent: { body: hex("00 00 00 00 05") },
      answer: enveloped(INVALID),
      source: "Connect conformance suite: `internal` or `invalid_argument`",
    },
    {
      fault: "a message is shorter than its envelope says",
      sent: { body: envelope(hex("0a 00"), 0, 10) },
      answer: enveloped(INVALID),
      source: "Connect conformance suite: `internal` or `invalid_argument`",
    },
    {
      fault: "bytes follow the message",
      sent: { body: Buffer.concat([envelope(hex("")), hex("00 00")]) },
      answer: enveloped(INVALID),
      source: "Connect conformance suite: `internal` or `invalid_argument`",
    },
    {
      fault: "there is no message",
      sent: { body: hex("") },
      answer: enveloped({ code: "unimplemented" }),
      source: GRPC_STATUS,
      kinds: ["unary", "server stream"],
    },
    {
      fault: "there are two messages",
      sent: { body: Buffer.concat([envelope(hex("")), envelope(hex(""))]) },
      answer: enveloped({ code: "unimplemented" }),
      source: GRPC_STATUS,
      kinds: ["unary", "server stream"],
    },
    {
      fault: "the second message is not protobuf",
      sent: { body: Buffer.concat([envelope(hex("3a 00")), envelope(hex("ff"))]) },
      answer: enveloped(INVALID),
      source: `${GRPC_STATUS}; ${DESIGN}`,
      kinds: ["bidi"],
      deviation: NOT_INTERNAL,
    },
    {
      fault: "the whole body is compressed, as HTTP can",
      sent: { body: gzipSync(envelope(hex(""))), headers: { "content-encoding": "gzip" } },
      answer: enveloped(INVALID),
      source: GRPC_WEB,
      deviation:
        "gRPC-Web expects it of unary calls. No client does it: browsers do not compress what they send",
    },
    {
      fault: "a message has the flag that ends a stream of Connect",
      sent: { message: utf8("{}"), flags: 0b10 },
      answer: enveloped(INVALID),
      source: CONNECT,
    },
    {
      fault: "a message has the flag of gRPC-Web's trailers",
      sent: { message: utf8("grpc-status: 0\r\n"), flags: 0b1000_0000 },
      answer: enveloped(INVALID),
      source: GRPC_WEB,
    },
    {
      fault: "a message has a flag without a meaning",
      sent: { message: hex(""), flags: 0b100 },
      answer: enveloped(INVALID),
      source: GRPC_HTTP2,
    },
  ],
};

const ENCODING = (name: string) =>
  ({
    gRPC: { "grpc-encoding": name },
    "gRPC-Web": { "grpc-encoding": name },
    "Connect unary": { "content-encoding": name },
    "Connect stream": { "connect-content-encoding": name },
  }) as const;
const UNKNOWN_ENCODING = (protocolHeader: string): Answer => ({
  code: "unimplemented",
  headers: { [protocolHeader]: "gzip, br" },
});
const UNKNOWN_ENCODINGS = {
  gRPC: UNKNOWN_ENCODING("grpc-accept-encoding"),
  "gRPC-Web": UNKNOWN_ENCODING("grpc-accept-encoding"),
  "Connect unary": UNKNOWN_ENCODING("accept-encoding"),
  "Connect stream": UNKNOWN_ENCODING("connect-accept-encoding"),
} as const;
const CORRUPT = {
  gRPC: { code: "internal" },
  "gRPC-Web": { code: "internal" },
  "Connect unary": INVALID,
  "Connect stream": INVALID,
} as const;
const zeros = gzipSync(Buffer.alloc(48 * 1024 * 1024));
const compressed = (message: Buffer) => ({ message, flags: 1 });

const COMPRESSION: FaultGroup = {
  title: "Compression",
  faults: [
    {
      fault: "the compression is not served",
      sent: { ...compressed(hex("")), headersOf: ENCODING("snappy") },
      answer: UNKNOWN_ENCODINGS,
      source: `${GRPC_COMPRESSION}; ${CONNECT}`,
    },
    {
      fault: "two compressions are named",
      sent: { ...compressed(hex("")), headersOf: ENCODING("gzip, gzip") },
      answer: UNKNOWN_ENCODINGS,
      source: `${GRPC_COMPRESSION}; ${CONNECT}`,
    },
    {
      fault: "the message is not what the compression says",
      sent: { ...compressed(hex("0a 00")), headersOf: ENCODING("gzip") },
      answer: CORRUPT,
      source: GRPC_STATUS,
    },
    {
      fault: "the compressed message is cut short",
      sent: { ...compressed(gzipSync(padding(100)).subarray(0, 20)), headersOf: ENCODING("gzip") },
      answer: CORRUPT,
      source: GRPC_STATUS,
    },
    {
      fault: "the compressed message's checksum is wrong",
      sent: {
        ...compressed(Buffer.concat([gzipSync(padding(100)).subarray(0, -8), Buffer.alloc(8)])),
        headersOf: ENCODING("gzip"),
      },
      answer: CORRUPT,
      source: GRPC_STATUS,
    },
    {
      fault: "the message is compressed, and is not protobuf",
      sent: { ...compressed(gzipSync(hex("ff"))), headersOf: ENCODING("gzip") },
      answer: INVALID,
      source: `${GRPC_STATUS}; ${DESIGN}`,
      deviation: NOT_INTERNAL,
    },
    {
      fault: "a message is marked as compressed, and no compression is named",
      sent: compressed(gzipSync(hex(""))),
      answer: enveloped({ code: "internal" }),
      source: `${GRPC_COMPRESSION}; Connect conformance suite`,
    },
    {
      fault: "a message is marked as compressed, by identity",
      sent: { ...compressed(hex("")), headersOf: ENCODING("identity") },
      answer: enveloped({ code: "internal" }),
      source: `${GRPC_COMPRESSION}; Connect conformance suite`,
    },
    {
      fault: "a compressed message is empty",
      sent: { ...compressed(hex("")), headersOf: ENCODING("gzip") },
      answer: OK,
      source: CONNECT,
      kinds: ["unary"],
    },
    {
      fault: "a compression's name is in capitals",
      sent: { ...compressed(gzipSync(hex(""))), headersOf: ENCODING("GZIP") },
      answer: OK,
      source: RFC_HTTP,
      kinds: ["unary"],
    },
    {
      fault: "the compression is brotli",
      sent: { ...compressed(brotliCompressSync(padding(100))), headersOf: ENCODING("br") },
      answer: OK,
      source: CONNECT,
      kinds: ["unary"],
    },
    {
      fault: "a compression is named, and the message is not compressed",
      sent: { message: padding(100), flags: 0, headersOf: ENCODING("gzip") },
      answer: { gRPC: OK, "gRPC-Web": OK, "Connect unary": INVALID },
      source: GRPC_HTTP2,
      kinds: ["unary"],
    },
  ],
};

const SIZES: FaultGroup = {
  title: "Sizes",
  faults: [
    {
      fault: "a message is as large as can be, 64 KiB",
      sent: { message: padding(MOST - 6) },
      answer: OK,
      source: DESIGN,
      kinds: ["unary"],
    },
    {
      fault: "a message is one byte larger",
      sent: { message: padding(MOST - 5) },
      answer: TOO_LARGE,
      source: GRPC_STATUS,
    },
    {
      fault: "a message of 1 MiB",
      sent: { message: padding(1024 * 1024) },
      answer: TOO_LARGE,
      source: GRPC_STATUS,
    },
    {
      fault: "a message of 1 MiB, whose length is not told before",
      sent: { message: padding(1024 * 1024), chunked: true },
      answer: { "gRPC-Web": TOO_LARGE, "Connect unary": TOO_LARGE, "Connect stream": TOO_LARGE },
      source: GRPC_STATUS,
      http: "1.1",
      kinds: ["unary", "server stream"],
    },
    {
      fault: "a message is promised that has 4 GiB",
      sent: { body: envelope(hex(""), 0, 0xffff_ffff), unfinished: true },
      answer: enveloped(TOO_LARGE),
      source: `${GRPC_STATUS}; ${GRPC_HTTP2}`,
      deviation:
        "gRPC's servers should then end the request with RST_STREAM `NO_ERROR`. Clients on Node lose the answer by that, so the rest of the request is read and dropped instead",
    },
    {
      fault: "a compressed message is one byte larger when it is decompressed",
      sent: { ...compressed(gzipSync(padding(MOST - 5))), headersOf: ENCODING("gzip") },
      answer: TOO_LARGE,
      source: GRPC_STATUS,
    },
    {
      fault: "48 KiB decompress to 48 MiB",
      sent: { ...compressed(zeros), headersOf: ENCODING("gzip") },
      answer: TOO_LARGE,
      source: GRPC_STATUS,
    },
    {
      fault: "the headers have more than 16 KiB",
      sent: { headers: { "x-large": "x".repeat(17 * 1024) } },
      answer: { http: 431 },
      source: "RFC 6585",
    },
    {
      fault: "the query has more than 16 KiB",
      sent: { verb: "GET", query: `encoding=json&message=${"%20".repeat(6 * 1024)}` },
      answer: { "Connect unary": { http: 431 } },
      source: "RFC 6585",
    },
  ],
};

const TIMEOUT = (grpc: string, connectMs: string) =>
  ({
    gRPC: { "grpc-timeout": grpc },
    "gRPC-Web": { "grpc-timeout": grpc },
    "Connect unary": { "connect-timeout-ms": connectMs },
    "Connect stream": { "connect-timeout-ms": connectMs },
  }) as const;
const WHICHEVER =
  "The form is published, the answer is not: grpc-go says `internal`, connect-go `invalid_argument`";
const timeout = (fault: string, grpc: string, connectMs: string, answer: Answer = INVALID): Fault => ({
  fault,
  sent: { headersOf: TIMEOUT(grpc, connectMs) },
  answer,
  source: `${GRPC_HTTP2}; ${CONNECT}`,
  ...(answer === OK ? { kinds: ["unary"] } : {}),
  ...(answer === INVALID ? { deviation: WHICHEVER } : {}),
});

const DEADLINES: FaultGroup = {
  title: "Deadlines",
  faults: [
    timeout("is no number", "soonS", "soon"),
    timeout("has no unit, or has one where none is", "1", "1S"),
    timeout("has an unknown unit, or is in the wrong notation", "1s", "1e3"),
    timeout("is empty", "", ""),
    timeout("is negative", "-1S", "-1"),
    timeout("is a fraction", "1.5S", "1.5"),
    timeout("has a digit too many", "123456789m", "12345678901"),
    timeout("is given twice", "1S, 2S", "1000, 2000"),
    timeout("is over before it begins", "0S", "0", DEADLINE),
    timeout("is as long as can be written", "99999999H", "9999999999", OK),
    {
      fault: "passes while the message does not come",
      sent: { headersOf: TIMEOUT("50m", "50"), message: hex(""), unfinished: true },
      answer: DEADLINE,
      source: GRPC_STATUS,
    },
    {
      fault: "passes while the rest of the message does not come",
      sent: { headersOf: TIMEOUT("50m", "50"), body: hex("00 00 00 00 05 0a"), unfinished: true },
      answer: DEADLINE,
      source: GRPC_STATUS,
    },
  ].map((fault) => ({ ...fault, fault: `the deadline ${fault.fault}` })),
};

const accepted = (...own: string[]): string =>
  [
    ...own,
    "application/grpc",
    "application/grpc+json",
    "application/grpc+proto",
    "application/grpc-web",
    "application/grpc-web+json",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
  ]
    .sort()
    .join(", ");
const ACCEPT_UNARY = accepted("application/json", "application/proto");
const ACCEPT_STREAM = accepted("application/connect+json", "application/connect+proto");
const UNSUPPORTED: Answer = { http: 415, headers: { "accept-post": ACCEPT_UNARY } };
const type = (fault: string, contentType: string | readonly string[] | null, source = CONNECT): Fault => ({
  fault,
  sent: { headers: { "content-type": contentType } },
  answer: { gRPC: UNSUPPORTED, "gRPC-Web": UNSUPPORTED, "Connect unary": UNSUPPORTED },
  source: source === RFC_HTTP ? source : `${GRPC_HTTP2}; ${source}`,
  kinds: ["unary"],
});

const TYPES: FaultGroup = {
  title: "Content types",
  faults: [
    type("the content type is missing", null),
    type("the content type is empty", ""),
    type("the content type is no media type", "json"),
    type("the content type is text/plain", "text/plain"),
    type("the content type is that of a form", "application/x-www-form-urlencoded"),
    type("the content type is that of a form with files", "multipart/form-data; boundary=x"),
    type("the content type is that of another protobuf", "application/x-protobuf"),
    type("the content type is of another codec of Connect", "application/yaml"),
    type("the content type is of a stream, the method is not", "application/connect+proto"),
    type("JSON comes in another charset", "application/json; charset=iso-8859-1"),
    type("two content types are given", ["application/json", "application/proto"], RFC_HTTP),
    type("the content type only begins like that of gRPC", "application/grpcx"),
    {
      ...type("the content type is of another codec of gRPC", "application/grpc+thrift"),
      answer: { gRPC: UNSUPPORTED },
      source: GRPC_HTTP2,
    },
    {
      ...type("the content type is of another codec of gRPC-Web", "application/grpc-web+thrift"),
      answer: { "gRPC-Web": UNSUPPORTED },
      source: GRPC_WEB,
    },
    {
      fault: "the content type is of a unary call, the method is a stream",
      sent: { headers: { "content-type": "application/proto" } },
      answer: { "Connect stream": { http: 415, headers: { "accept-post": ACCEPT_STREAM } } },
      source: CONNECT,
      kinds: ["server stream"],
    },
    ...(
      [
        ["the content type is in capitals", "APPLICATION/JSON"],
        ["the content type tells the charset", "application/json; charset=utf-8"],
        ["the content type tells the charset in quotes", 'application/json;charset="UTF-8"'],
        ["the content type has an unknown parameter", "application/json; profile=x"],
      ] as const
    ).map(
      ([fault, contentType]): Fault => ({
        fault,
        sent: { json: "{}", headers: { "content-type": contentType } },
        answer: { "Connect unary": OK },
        source: RFC_HTTP,
      }),
    ),
    {
      fault: "gRPC's content type has a parameter",
      sent: { headers: { "content-type": "application/grpc+proto; charset=utf-8" } },
      answer: { gRPC: OK },
      source: RFC_HTTP,
      kinds: ["unary"],
    },
  ],
};

const TEXT = { "content-type": "application/grpc-web-text" };
const base64 = (body: Buffer): Buffer => utf8(body.toString("base64"));
const TEXTS: FaultGroup = {
  title: "gRPC-Web in base64",
  faults: [
    {
      fault: "gRPC-Web in base64",
      sent: { headers: TEXT, body: base64(envelope(hex(""))) },
      answer: { "gRPC-Web": { code: "ok", headers: { "content-type": "application/grpc-web-text+proto" } } },
      source: GRPC_WEB,
      kinds: ["unary"],
    },
    {
      fault: "gRPC-Web in base64, with padding inside",
      sent: { headers: TEXT, body: Buffer.concat([base64(hex("00")), base64(hex("00 00 00 00"))]) },
      answer: { "gRPC-Web": OK },
      source: GRPC_WEB,
      kinds: ["unary"],
    },
    {
      fault: "gRPC-Web in base64 that is none",
      sent: { headers: TEXT, body: utf8("AAAA!AAA") },
      answer: { "gRPC-Web": INVALID },
      source: GRPC_WEB,
    },
    {
      fault: "gRPC-Web in base64 that is cut short",
      sent: { headers: TEXT, body: utf8("AAAAAA") },
      answer: { "gRPC-Web": INVALID },
      source: GRPC_WEB,
    },
    {
      fault: "gRPC-Web in base64 that goes on after its end",
      sent: { headers: TEXT, body: utf8("AAAAAAA=A") },
      answer: { "gRPC-Web": INVALID },
      source: GRPC_WEB,
    },
    {
      fault: "gRPC-Web whose answer is asked for in base64",
      sent: { headers: { accept: "application/grpc-web-text" } },
      answer: { "gRPC-Web": { code: "ok", headers: { "content-type": "application/grpc-web-text+proto" } } },
      source: GRPC_WEB,
      kinds: ["unary"],
    },
    {
      fault: "gRPC-Web in base64, whose answer is asked for without",
      sent: { headers: { ...TEXT, accept: "application/grpc-web" }, body: base64(envelope(hex(""))) },
      answer: { "gRPC-Web": { code: "ok", headers: { "content-type": "application/grpc-web+proto" } } },
      source: GRPC_WEB,
      kinds: ["unary"],
    },
    {
      fault: "gRPC-Web in JSON, whose answer is asked for in base64",
      sent: { json: "{}", headers: { accept: "application/grpc-web-text" } },
      answer: { "gRPC-Web": { code: "ok", headers: { "content-type": "application/grpc-web+json" } } },
      source: GRPC_WEB,
      kinds: ["unary"],
    },
    {
      fault: "gRPC-Web in base64 that holds no protobuf",
      sent: { headers: TEXT, body: base64(envelope(hex("ff"))) },
      answer: { "gRPC-Web": INVALID },
      source: DESIGN,
    },
  ],
};

const verb = (name: string, answer: Answer, query?: string): Fault => ({
  fault: `the method of HTTP is ${name}${query === undefined ? "" : ", of a method that can be called by GET"}`,
  sent: { verb: name, ...(query === undefined ? {} : { query }) },
  answer: { "Connect unary": answer },
  source: RFC_HTTP,
  ...(name === "HEAD" && query !== undefined
    ? {
        deviation:
          "RFC 9110 asks general-purpose servers for HEAD where there is GET; Connect's protocol has GET only",
      }
    : {}),
});
const ONLY_POST: Answer = { http: 405, headers: { allow: "POST" } };
const POST_OR_GET: Answer = { http: 405, headers: { allow: "POST, GET" } };
const VERBS: FaultGroup = {
  title: "Methods of HTTP",
  faults: [
    ...["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"].map((name) => verb(name, ONLY_POST)),
    ...["HEAD", "PUT", "DELETE", "OPTIONS"].map((name) => verb(name, POST_OR_GET, "")),
    {
      fault: "the method of HTTP is PUT",
      sent: { verb: "PUT" },
      answer: enveloped(ONLY_POST),
      source: GRPC_HTTP2,
      kinds: ["unary", "server stream"],
    },
  ],
};

const get = (fault: string, query: string, answer: Answer = INVALID, more: Sent = {}): Fault => ({
  fault: `by GET: ${fault}`,
  sent: { verb: "GET", query, ...more },
  answer: { "Connect unary": answer },
  source: CONNECT,
});
const zipped = gzipSync(utf8("{}")).toString("base64url");
const GETS: FaultGroup = {
  title: "Calls by GET",
  faults: [
    get("all is in order, in JSON", "connect=v1&encoding=json&message=%7B%7D", OK),
    get("all is in order, in protobuf", "connect=v1&encoding=proto&base64=1&message=oAYB", OK),
    get("all is in order, with padding", "connect=v1&encoding=proto&base64=1&message=oAaAAQ%3D%3D", OK),
    get("parameters are in another order, with an unknown one", "message=%7B%7D&x=y&encoding=json", OK),
    get("all is in order, compressed", `encoding=json&base64=1&compression=gzip&message=${zipped}`, OK),
    get("another base64 than 1 is ignored", "encoding=json&base64=0&message=%7B%7D", OK),
    get("there is no query", ""),
    get("the message is missing", "connect=v1&encoding=json"),
    get("the message is missing, in protobuf", "connect=v1&encoding=proto&base64=1"),
    get("the message is empty, in JSON", "connect=v1&encoding=json&message="),
    get("the message is empty, in protobuf", "connect=v1&encoding=proto&message=", OK),
    get("the deadline is over before it begins", "encoding=json&message=%7B%7D", DEADLINE, {
      headers: { "connect-timeout-ms": "0" },
    }),
    get("the encoding is missing", "connect=v1&message=%7B%7D"),
    get("the encoding is not served", "connect=v1&encoding=yaml&message=%7B%7D", { http: 415 }),
    get("the version is another", "connect=v2&encoding=json&message=%7B%7D"),
    get("the version is empty", "connect=&encoding=json&message=%7B%7D"),
    get("the message is given twice", "encoding=json&message=%7B%7D&message=%7B%7D"),
    get("the message is not JSON", `encoding=json&message=%7B${SECRET}`),
    get("the message is not protobuf", "encoding=proto&base64=1&message=_w"),
    get("the message is not percent-encoded", "encoding=json&message=%zz%7B%7D"),
    get("the message is not UTF-8", "encoding=json&message=%7B%22id%22:%22%ff%22%7D", INVALID, {
      path: "/latchkey.v1.OrganizationService/GetOrganization",
    }),
    get("an unknown parameter is not UTF-8", "encoding=json&message=%7B%7D&x=%ff", OK),
    get("the message is not base64", "encoding=proto&base64=1&message=!"),
    get("the message is base64 that is cut short", "encoding=proto&base64=1&message=oAYBo"),
    get("the message is base64 with a + that is not encoded", "encoding=proto&base64=1&message=oAY+"),
    get("the compression is not served", "encoding=json&base64=1&compression=snappy&message=AA", {
      code: "unimplemented",
      headers: { "accept-encoding": "gzip, br" },
    }),
    get("the compressed message is none", "encoding=json&base64=1&compression=gzip&message=AAAA"),
    get("there is a content type", "encoding=json&message=%7B%7D", OK, {
      headers: { "content-type": "text/plain" },
    }),
  ],
};

const VERSIONS: FaultGroup = {
  title: "Connect's version",
  faults: [
    {
      fault: "the version of the protocol is missing",
      sent: { headers: { "connect-protocol-version": null } },
      answer: connect(OK),
      source: CONNECT,
      kinds: ["unary"],
    },
    {
      fault: "the version of the protocol is another",
      sent: { headers: { "connect-protocol-version": "2" } },
      answer: connect(INVALID),
      source: CONNECT,
    },
    {
      fault: "the version of the protocol is given twice",
      sent: { headers: { "connect-protocol-version": "1, 1" } },
      answer: connect(INVALID),
      source: CONNECT,
    },
  ],
};

const NO_METHOD = {
  gRPC: { code: "unimplemented" },
  "gRPC-Web": { code: "unimplemented" },
  "Connect unary": { code: "unimplemented", http: 404, headers: { "content-type": "application/json" } },
  "Connect stream": { code: "unimplemented", http: 404 },
} as const satisfies Record<Protocol, Answer>;
const noMethod = (fault: string, path: string): Fault => ({
  fault,
  sent: { path },
  answer: NO_METHOD,
  source: `${GRPC_STATUS}; Connect conformance suite`,
  kinds: ["unary", "server stream"],
  deviation:
    "Connect's reference says that the status should be that of the code, 501; its conformance suite asks for 404, and plain HTTP does too",
});
const CHECK = "/grpc.health.v1.Health/Check";
const PATHS: FaultGroup = {
  title: "Paths",
  faults: [
    noMethod("the service does not exist", "/latchkey.v1.NoService/Check"),
    noMethod("the method does not exist", "/grpc.health.v1.Health/NoMethod"),
    noMethod("the path is of another case", CHECK.toLowerCase()),
    noMethod("the path ends with a slash", `${CHECK}/`),
    noMethod("the path begins with two slashes", `/${CHECK}`),
    noMethod("the path's slash is encoded", "/grpc.health.v1.Health%2FCheck"),
    noMethod("the path's letters are encoded", "/grpc.health.v1.Health/%43heck"),
    noMethod("the path goes up", `/x/..${CHECK}`),
    noMethod("the path is that of a page", "/livez"),
    {
      fault: "the method does not exist, in JSON without a version of the protocol",
      sent: {
        path: "/latchkey.v1.NoService/Check",
        json: "{}",
        headers: { "connect-protocol-version": null },
      },
      answer: { "Connect unary": NO_METHOD["Connect unary"] },
      source: "Connect conformance suite",
    },
    {
      fault: "the path is none of a method, in JSON",
      sent: { path: "/nothing", json: "{}" },
      answer: { "Connect unary": NO_METHOD["Connect unary"] },
      source: "Connect conformance suite",
    },
    {
      fault: "the method does not exist, by GET",
      sent: {
        verb: "GET",
        path: "/latchkey.v1.NoService/Check",
        query: "connect=v1&encoding=json&message=%7B%7D",
      },
      answer: { "Connect unary": NO_METHOD["Connect unary"] },
      source: "Connect conformance suite",
    },
    {
      fault: "the path has no leading slash",
      sent: { path: CHECK.slice(1) },
      answer: { http: 400 },
      source: RFC_HTTP1,
      http: "1.1",
      kinds: ["unary"],
    },
    {
      fault: "the path has no leading slash",
      sent: { path: CHECK.slice(1) },
      answer: { reset: "PROTOCOL_ERROR" },
      source: RFC_HTTP2,
      http: "2",
      kinds: ["unary"],
    },
    {
      fault: "the path is a whole URL",
      sent: { path: `http://elsewhere.test${CHECK}` },
      answer: { "gRPC-Web": OK, "Connect unary": OK },
      source: RFC_HTTP1,
      http: "1.1",
      kinds: ["unary"],
    },
    {
      fault: "the path has a query",
      sent: { path: `${CHECK}?x=y` },
      answer: OK,
      source: RFC_HTTP,
      kinds: ["unary"],
    },
    ...(
      [
        ["a page", "GET", "/livez?connect=v1", 200],
        ["a page that does not exist", "GET", "/nothing", 404],
        ["a page that does not exist, by POST of JSON", "POST", "/nothing", 404],
        ["a page that only can be read", "POST", "/livez", 405],
      ] as const
    ).map(
      ([fault, method, path, http]): Fault => ({
        fault: `plain HTTP: ${fault}`,
        sent: {
          verb: method,
          path,
          json: "{}",
          headers: { "connect-protocol-version": null },
        },
        answer: { "Connect unary": http === 200 ? OK : { http } },
        source: RFC_HTTP,
      }),
    ),
  ],
};

const HTTP: FaultGroup = {
  title: "HTTP",
  faults: [
    {
      fault: "gRPC over HTTP/1.1",
      sent: {},
      answer: { gRPC: { http: 505 } },
      source: GRPC_HTTP2,
      http: "1.1",
      kinds: ["unary", "server stream"],
      deviation:
        "gRPC is published for HTTP/2 only, without an answer for less; this is grpc-go's. To answer would let a proxy that drops trailers turn every refusal into a success",
    },
    {
      fault: "gRPC over HTTP/1.1, of a method that does not exist",
      sent: { path: "/latchkey.v1.NoService/Check" },
      answer: { gRPC: { http: 505 } },
      source: GRPC_HTTP2,
      http: "1.1",
      kinds: ["unary"],
    },
    {
      fault: "both sides stream over HTTP/1.1",
      sent: {},
      answer: {
        gRPC: { http: 505, headers: { connection: "close" } },
        "gRPC-Web": { http: 505, headers: { connection: "close" } },
        "Connect stream": { http: 505, headers: { connection: "close" } },
      },
      source: CONNECT,
      http: "1.1",
      kinds: ["bidi"],
    },
    {
      fault: "`te: trailers` is missing",
      sent: { headers: { te: null } },
      answer: { gRPC: OK },
      source: GRPC_HTTP2,
      kinds: ["unary"],
      deviation:
        "It is required, to detect proxies that drop trailers, without an answer where it is missing. grpc-go serves it all the same",
    },
    {
      fault: "the authority is empty",
      sent: { headers: { ":authority": "" } },
      answer: { reset: "PROTOCOL_ERROR" },
      source: RFC_HTTP2,
      http: "2",
      kinds: ["unary"],
    },
    {
      fault: "the authority is none",
      sent: { headers: { ":authority": "a b" } },
      answer: { reset: "PROTOCOL_ERROR" },
      source: RFC_HTTP2,
      http: "2",
      kinds: ["unary"],
    },
    {
      fault: "there is no Host",
      sent: { headers: { host: null } },
      answer: { "gRPC-Web": { http: 400 }, "Connect unary": { http: 400 } },
      source: RFC_HTTP1,
      http: "1.1",
      kinds: ["unary"],
    },
    {
      fault: "Host is none",
      sent: { headers: { host: "a b" } },
      answer: { "gRPC-Web": { http: 400 }, "Connect unary": { http: 400 } },
      source: RFC_HTTP1,
      http: "1.1",
      kinds: ["unary"],
    },
    {
      fault: "Host is given twice",
      sent: { headers: { host: ["a.test", "b.test"] } },
      answer: { "gRPC-Web": { http: 400 }, "Connect unary": { http: 400 } },
      source: RFC_HTTP1,
      http: "1.1",
      kinds: ["unary"],
    },
  ],
};

export const FAULTS: readonly FaultGroup[] = [
  PROTOBUF,
  PROTOBUF_FINE,
  JSON_GROUP,
  FRAMES,
  COMPRESSION,
  SIZES,
  DEADLINES,
  TYPES,
  TEXTS,
  VERBS,
  GETS,
  VERSIONS,
  PATHS,
  HTTP,
];
