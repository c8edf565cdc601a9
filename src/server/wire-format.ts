import { MIMEType } from "node:util";
import type { DescMethod } from "@bufbuild/protobuf";

/** `connect` is a unary call: its body is the message. In the others' bodies messages stand in envelopes. */
export type WireProtocol = "grpc" | "grpc-web" | "connect" | "connect-stream";

/** What a request's content type says of it. */
export interface WireFormat {
  readonly protocol: WireProtocol;
  /** The content type as Connect knows it. Undefined: one that only begins like one of this protocol. */
  readonly contentType: string | undefined;
  /** gRPC-Web in base64. */
  readonly isText: boolean;
}

const FORMATS: ReadonlyMap<string, WireFormat> = new Map(
  (
    [
      ["grpc", ["application/grpc", "application/grpc+proto", "application/grpc+json"]],
      ["grpc-web", ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json"]],
      ["connect", ["application/proto", "application/json"]],
      ["connect-stream", ["application/connect+proto", "application/connect+json"]],
    ] as const
  ).flatMap(([protocol, types]) =>
    types.map((contentType) => [contentType, { protocol, contentType, isText: false }] as const),
  ),
);

const TEXT_FORMAT: WireFormat = {
  protocol: "grpc-web",
  contentType: "application/grpc-web+proto",
  isText: true,
};
const TEXT_TYPES: ReadonlySet<string> = new Set([
  "application/grpc-web-text",
  "application/grpc-web-text+proto",
]);

/** A unary call of Connect by GET tells its codec in the query, an error is JSON in any case. */
export const GET_FORMAT: WireFormat = {
  protocol: "connect",
  contentType: "application/json",
  isText: false,
};

/** What each protocol's content types begin with, the longest first. */
const FAMILIES = [
  ["application/grpc-web", "grpc-web"],
  ["application/grpc", "grpc"],
  ["application/connect+", "connect-stream"],
] as const;

/**
 * Reads a content type. Parameters are of no consequence (RFC 9110 section 8.3.1), except that JSON in
 * another charset than UTF-8 is not JSON (RFC 8259 section 8.1).
 *
 * @returns undefined where it is none of an RPC.
 */
export function formatOf(contentType: string): WireFormat | undefined {
  const exact = FORMATS.get(contentType);
  if (exact !== undefined) {
    return exact;
  }
  const parsed = parse(contentType);
  if (parsed === undefined) {
    return undefined;
  }
  const { essence, charset } = parsed;
  const known = TEXT_TYPES.has(essence) ? TEXT_FORMAT : FORMATS.get(essence);
  if (known !== undefined) {
    const isOther = essence.endsWith("json") && !/^utf-?8$/i.test(charset);
    return isOther ? { ...known, contentType: undefined } : known;
  }
  const [, protocol] = FAMILIES.find(([start]) => startsFamily(essence, start)) ?? [];
  return protocol && { protocol, contentType: undefined, isText: false };
}

/** The content types that a method can be called with. */
export function contentTypesOf({ methodKind }: DescMethod): string {
  const other = methodKind === "unary" ? "connect-stream" : "connect";
  const types = [...FORMATS].filter(([, { protocol }]) => protocol !== other).map(([type]) => type);
  return [...types, ...TEXT_TYPES].sort().join(", ");
}

function startsFamily(essence: string, start: string): boolean {
  const rest = essence.slice(start.length);
  return essence.startsWith(start) && (rest === "" || start.endsWith("+") || rest.startsWith("+"));
}

function parse(contentType: string): { essence: string; charset: string } | undefined {
  try {
    const { essence, params } = new MIMEType(contentType);
    return { essence, charset: params.get("charset") ?? "utf-8" };
  } catch {
    return undefined;
  }
}
