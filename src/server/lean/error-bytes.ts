import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { ConnectError } from "@connectrpc/connect";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { AuthError } from "../../errors.ts";
import { ErrorInfoSchema, RequestInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { toConnectError } from "../error-interceptor.ts";

const DETAILS = "grpc-status-details-bin";
/** How many different refusals are kept ready. They differ by what is missing, and by when to come again. */
const MOST_KEPT = 256;
/** What is kept of them, in characters of JSON. */
const LONGEST_KEPT = 1024;

const kept = new Map<string, ErrorBytes>();

/** An error as it is written, by Connect's own functions once; what is added each time is the call's id. */
export class ErrorBytes {
  readonly code: number;
  /** Of a unary call of Connect. */
  readonly httpStatus: number;
  readonly grpcMessage: string;
  /** For whoever looks at headers only. */
  readonly retryAfter: string | undefined;
  /** The bytes of `google.rpc.Status`. Undefined: the error says no more than its code and message. */
  readonly #status: Buffer | undefined;
  /** The object of Connect's error, as far as its last detail. */
  readonly #json: string;

  constructor(error: ConnectError) {
    const trailers = setTrailerStatus(new Headers(), error);
    const details = trailers.get(DETAILS);
    const hasInfo = error.findDetails(ErrorInfoSchema).length > 0;
    const json = Buffer.from(errorToJsonBytes(error, undefined)).toString();
    this.code = error.code;
    this.httpStatus = codeToHttpStatus(error.code);
    this.grpcMessage = trailers.get("grpc-message") ?? "";
    this.retryAfter = error.metadata.get("retry-after") ?? undefined;
    this.#status = hasInfo && details !== null ? Buffer.from(details, "base64") : undefined;
    this.#json = hasInfo ? json.slice(0, -"]}".length) : json;
  }

  /** `grpc-status-details-bin`. Undefined: there is nothing that it would say. */
  details(requestId: string): string | undefined {
    return this.#status && base64(Buffer.concat([this.#status, requestInfoDetail(requestId)]));
  }

  json(requestId: string): Buffer {
    if (this.#status === undefined) {
      return Buffer.from(this.#json);
    }
    const value = base64(requestInfo(requestId));
    const detail = { type: RequestInfoSchema.typeName, debug: { requestId }, value };
    return Buffer.from(`${this.#json},${JSON.stringify(detail)}]}`);
  }
}

/** What a caller is told of an error. */
export function errorBytes(error: AuthError | ConnectError): ErrorBytes {
  if (!(error instanceof AuthError) || error.organizations.length > 0) {
    return new ErrorBytes(error instanceof AuthError ? toConnectError(error) : error);
  }
  const { reason, message, retryAfterMillis, metadata } = error;
  const key = JSON.stringify([reason, message, metadata, retryAfterMillis]);
  const known = kept.get(key);
  if (known !== undefined) {
    return known;
  }
  const bytes = new ErrorBytes(toConnectError(error));
  // What is refused may be named in it, and be long.
  if (key.length <= LONGEST_KEPT) {
    if (kept.size === MOST_KEPT) {
      kept.clear();
    }
    kept.set(key, bytes);
  }
  return bytes;
}

/** One more of the `details` of `google.rpc.Status`: field 3, a `google.protobuf.Any`. */
function requestInfoDetail(requestId: string): Uint8Array {
  return new BinaryWriter()
    .uint32((3 << 3) | 2)
    .fork()
    .uint32((1 << 3) | 2)
    .string(`type.googleapis.com/${RequestInfoSchema.typeName}`)
    .uint32((2 << 3) | 2)
    .bytes(requestInfo(requestId))
    .join()
    .finish();
}

function requestInfo(requestId: string): Uint8Array {
  return new BinaryWriter()
    .uint32((1 << 3) | 2)
    .string(requestId)
    .finish();
}

/** Without padding, as gRPC has binary headers and Connect its details. */
function base64(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
  const padding = text.indexOf("=");
  return padding === -1 ? text : text.slice(0, padding);
}
