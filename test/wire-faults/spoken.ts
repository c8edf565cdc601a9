// How each protocol writes a call, and reads its outcome.
import { base64Decode } from "@bufbuild/protobuf/wire";
import type { RawAnswer, RawRequest } from "./exchange.ts";
import { type CallKind, CODES, type HttpVersion, type Protocol, type Sent } from "./faults.ts";

const HEALTH = "/grpc.health.v1.Health";
const METHODS: Readonly<Record<CallKind, string>> = {
  unary: `${HEALTH}/Check`,
  "server stream": `${HEALTH}/Watch`,
  bidi: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
};
/** Has no side effects, so that it can be called by GET. */
const READ = "/latchkey.v1.AuthenticationService/WhoAmI";

const TYPES: Readonly<Record<Protocol, readonly [proto: string, json: string]>> = {
  gRPC: ["application/grpc+proto", "application/grpc+json"],
  "gRPC-Web": ["application/grpc-web+proto", "application/grpc-web+json"],
  "Connect unary": ["application/proto", "application/json"],
  "Connect stream": ["application/connect+proto", "application/connect+json"],
};

/** The kinds of methods that a protocol carries over a version of HTTP. */
export function kindsOf(protocol: Protocol): readonly CallKind[] {
  switch (protocol) {
    case "Connect unary":
      return ["unary"];
    case "Connect stream":
      return ["server stream", "bidi"];
    default:
      return ["unary", "server stream", "bidi"];
  }
}

export function requestOf(
  protocol: Protocol,
  kind: CallKind,
  http: HttpVersion,
  sent: Sent,
  apiKey: string,
): RawRequest {
  const {
    verb = "POST",
    query,
    flags = 0,
    message = Buffer.alloc(0),
    unfinished = false,
    chunked = false,
  } = sent;
  const [proto, json] = TYPES[protocol];
  const isGet = query !== undefined;
  const fields = new Map<string, string | readonly string[] | null>([
    [http === "2" ? ":authority" : "host", "latchkey.test"],
    ...(isGet
      ? ([["x-api-key", apiKey]] as const)
      : ([["content-type", sent.json === undefined ? proto : json]] as const)),
    ...(protocol === "gRPC" ? ([["te", "trailers"]] as const) : []),
    ...(protocol.startsWith("Connect") && !isGet ? ([["connect-protocol-version", "1"]] as const) : []),
    ...Object.entries(sent.headersOf?.[protocol] ?? {}),
    ...Object.entries(sent.headers ?? {}),
  ]);
  const content = sent.json === undefined ? message : Buffer.from(sent.json);
  return {
    verb,
    path: isGet ? `${sent.path ?? READ}?${query}` : (sent.path ?? METHODS[kind]),
    headers: [...fields].flatMap(([name, value]) =>
      value === null ? [] : [value].flat().map((each) => [name, each] as const),
    ),
    body:
      sent.body ??
      (isGet ? Buffer.alloc(0) : protocol === "Connect unary" ? content : envelope(flags, content)),
    unfinished,
    chunked,
  };
}

/** What an answer says: a code, where it is one of an RPC. */
export interface Outcome {
  readonly http: number;
  readonly reset: string;
  readonly code: string | undefined;
  readonly message: string;
  readonly hasDetails: boolean;
  readonly headers: Headers;
  readonly goesOn: boolean | undefined;
}

export function outcomeOf(protocol: Protocol, answer: RawAnswer): Outcome {
  const { status, reset, headers } = answer;
  const error = errorOf(protocol, answer);
  const { goesOn } = answer;
  return { http: status, reset, headers, goesOn, code: undefined, message: "", hasDetails: false, ...error };
}

type Told = Pick<Outcome, "code" | "message" | "hasDetails">;

function errorOf(protocol: Protocol, { status, headers, trailers, body }: RawAnswer): Told | undefined {
  const contentType = headers.get("content-type") ?? "";
  if (protocol === "gRPC" && contentType.startsWith("application/grpc")) {
    return grpcStatus(trailers.has("grpc-status") ? trailers : headers);
  }
  if (protocol === "gRPC-Web" && contentType.startsWith("application/grpc-web")) {
    const binary = contentType.includes("-text") ? base64Decode(body.toString("latin1")) : body;
    const trailer = lastEnvelope(Buffer.from(binary), 0x80)?.toString("latin1") ?? "";
    return grpcStatus(
      new Headers(
        trailer
          .split("\r\n")
          .filter(Boolean)
          .map((line) => line.split(": ") as [string, string]),
      ),
    );
  }
  if (protocol === "Connect stream" && contentType.startsWith("application/connect+")) {
    const end = lastEnvelope(body, 2);
    return end === undefined
      ? undefined
      : connectError((JSON.parse(end.toString()) as { error?: object }).error);
  }
  if (status === 200) {
    return connectError(undefined);
  }
  return contentType === "application/json" && body.length > 0
    ? connectError(JSON.parse(body.toString()))
    : undefined;
}

function grpcStatus(fields: Headers): Told {
  const status = Number(fields.get("grpc-status") ?? Number.NaN);
  const [code = `status ${status}`] = Object.entries(CODES).find(([, { grpc }]) => grpc === status) ?? [];
  return {
    code,
    message: decodeURIComponent(fields.get("grpc-message") ?? ""),
    hasDetails: fields.has("grpc-status-details-bin"),
  };
}

function connectError(error: { code?: string; message?: string; details?: unknown } | undefined): Told {
  return {
    code: error === undefined ? "ok" : error.code,
    message: error?.message ?? "",
    hasDetails: error?.details !== undefined,
  };
}

function envelope(flags: number, message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The content of the envelope that has the flag, which has to be the last. */
function lastEnvelope(bytes: Buffer, flag: number): Buffer | undefined {
  let found: Buffer | undefined;
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at + 1);
    found = (bytes.readUInt8(at) & flag) === 0 ? undefined : bytes.subarray(at + 5, at + 5 + length);
    at += 5 + length;
  }
  return found;
}
