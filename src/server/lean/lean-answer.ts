import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { ENVELOPE_BYTES, enclose } from "./answer-bytes.ts";
import type { CallHead } from "./call-head.ts";
import type { ErrorBytes } from "./error-bytes.ts";

/** An answer, ready to be written. */
export interface LeanAnswer {
  readonly status: number;
  /** Names and values by turns, without what Node adds. */
  readonly headers: string[];
  /** Each character of a text is a byte. Undefined: there is none, and the headers say all. */
  readonly body: Buffer | string | undefined;
  /** Whether the status OK of gRPC follows the body. */
  readonly isOk: boolean;
}

/** Connect's own `compressMinBytes`. */
const LEAST_TO_COMPRESS = 1024;
const COMPRESSIONS = [compressionGzip, compressionBrotli];
const COMPRESSED = 1;

/** A message of an answer: in its envelope, or as characters that are bytes. */
export type Written = { readonly enveloped: Buffer } | { readonly text: string };

/** @param vary what else the answer depends on; empty: nothing. */
export function answerWith(
  { format, accepts }: CallHead,
  written: Written,
  requestId: string,
  vary: string,
): LeanAnswer | Promise<LeanAnswer> {
  const compression = compressionFor(accepts);
  if ("text" in written) {
    const type = format === "json" ? "json" : "proto";
    return connectAnswer(200, type, written.text, compression, requestId, vary);
  }
  const { enveloped } = written;
  const headers = fieldsOf(vary, ["content-type", "application/grpc+proto"]);
  if (compression !== undefined) {
    headers.push("grpc-encoding", compression.name);
  }
  headers.push("x-request-id", requestId);
  const answer = { status: 200, headers, body: enveloped, isOk: true };
  if (compression === undefined || enveloped.length - ENVELOPE_BYTES < LEAST_TO_COMPRESS) {
    return answer;
  }
  const compressed = compression.compress(enveloped.subarray(ENVELOPE_BYTES) as Uint8Array<ArrayBuffer>);
  return compressed.then((body) => ({ ...answer, body: enclose(body, COMPRESSED) }));
}

/** Refuses a call of which too little has come to be read: of that, nothing is negotiated yet. */
export function refuseUnread(
  { format, contentType }: CallHead,
  error: ErrorBytes,
  requestId: string,
  vary: string,
): LeanAnswer | Promise<LeanAnswer> {
  return refuseWith({ format, accepts: "" }, error, requestId, vary, contentType);
}

export function refuseWith(
  { format, accepts }: Pick<CallHead, "format" | "accepts">,
  error: ErrorBytes,
  requestId: string,
  vary: string,
  grpcType = "application/grpc+proto",
): LeanAnswer | Promise<LeanAnswer> {
  const compression = compressionFor(accepts);
  const { retryAfter } = error;
  if (format !== "grpc") {
    const body = error.json(requestId);
    return connectAnswer(error.httpStatus, "json", body, compression, requestId, vary, retryAfter);
  }
  // "Trailers-Only": see wire-trailers-only.ts.
  const headers = fieldsOf(vary, ["content-type", grpcType]);
  if (compression !== undefined) {
    headers.push("grpc-encoding", compression.name);
  }
  headers.push("grpc-message", error.grpcMessage, "grpc-status", String(error.code));
  const details = error.details(requestId);
  if (details !== undefined) {
    headers.push("grpc-status-details-bin", details);
  }
  if (retryAfter !== undefined) {
    headers.push("retry-after", retryAfter);
  }
  headers.push("x-request-id", requestId);
  return { status: 200, headers, body: undefined, isOk: false };
}

type Compression = typeof compressionGzip;

/** The first that the client names and that is served. */
function compressionFor(accepts: string): Compression | undefined {
  if (accepts === "") {
    return undefined;
  }
  for (const name of accepts.split(",")) {
    const found = COMPRESSIONS.find((compression) => compression.name === name.trim());
    if (found !== undefined) {
      return found;
    }
  }
  return undefined;
}

function connectAnswer(
  status: number,
  format: "proto" | "json",
  body: string,
  compression: Compression | undefined,
  requestId: string,
  vary: string,
  retryAfter?: string,
): LeanAnswer | Promise<LeanAnswer> {
  const answer = (written: Buffer | string, encoding: readonly string[]): LeanAnswer => {
    const headers = fieldsOf(vary, encoding);
    headers.push("content-length", String(written.length), "content-type", `application/${format}`);
    if (retryAfter !== undefined) {
      headers.push("retry-after", retryAfter);
    }
    headers.push("x-request-id", requestId);
    return { status, headers, body: written, isOk: false };
  };
  if (compression === undefined || body.length < LEAST_TO_COMPRESS) {
    return answer(body, []);
  }
  return compression
    .compress(Buffer.from(body, "latin1"))
    .then((bytes) => answer(Buffer.from(bytes), ["content-encoding", compression.name]));
}

function fieldsOf(vary: string, fields: readonly string[]): string[] {
  return vary === "" ? [...fields] : ["vary", vary, ...fields];
}
