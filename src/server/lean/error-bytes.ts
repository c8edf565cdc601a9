import type { ConnectError } from "@connectrpc/connect";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { AuthError, NO_METADATA } from "../../errors.ts";
import { ErrorInfoSchema, RequestInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { toConnectError } from "../error-interceptor.ts";
import { charactersOf, varint } from "./answer-bytes.ts";

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
  /** The bytes of `google.rpc.Status`, as characters. Undefined: the error says no more than its code and message. */
  readonly #status: string | undefined;
  /** The object of Connect's error, as far as its last detail. */
  readonly #json: string;

  constructor(error: ConnectError) {
    const trailers = setTrailerStatus(new Headers(), error);
    const details = trailers.get(DETAILS);
    const hasInfo = error.findDetails(ErrorInfoSchema).length > 0;
    const json = charactersOf(errorToJsonBytes(error, undefined));
    this.code = error.code;
    this.httpStatus = codeToHttpStatus(error.code);
    this.grpcMessage = trailers.get("grpc-message") ?? "";
    this.retryAfter = error.metadata.get("retry-after") ?? undefined;
    this.#status = hasInfo && details !== null ? charactersOf(Buffer.from(details, "base64")) : undefined;
    this.#json = hasInfo ? json.slice(0, -"]}".length) : json;
  }

  /** `grpc-status-details-bin`. Undefined: there is nothing that it would say. */
  details(requestId: string): string | undefined {
    return this.#status && base64(this.#status + requestInfoDetail(requestId));
  }

  /** Its bytes, as characters. */
  json(requestId: string): string {
    if (this.#status === undefined) {
      return this.#json;
    }
    const value = base64(requestInfo(requestId));
    const detail = { type: RequestInfoSchema.typeName, debug: { requestId }, value };
    return `${this.#json},${JSON.stringify(detail)}]}`;
  }
}

/** What a caller is told of an error. */
export function errorBytes(error: AuthError | ConnectError): ErrorBytes {
  if (!(error instanceof AuthError) || error.organizations.length > 0) {
    return new ErrorBytes(error instanceof AuthError ? toConnectError(error) : error);
  }
  const { reason, message, retryAfterMillis, metadata } = error;
  const isPlain = metadata === NO_METADATA && retryAfterMillis === undefined;
  const key = isPlain
    ? `${reason} ${message}`
    : JSON.stringify([reason, message, metadata, retryAfterMillis]);
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

const TYPE_URL = `type.googleapis.com/${RequestInfoSchema.typeName}`;
/** Tags of fields that hold a length and as many bytes: the first, the second and the third of a message. */
const FIELD_1 = "\n";
const FIELD_2 = "\x12";
const FIELD_3 = "\x1a";

/** One more of the `details` of `google.rpc.Status`: field 3, a `google.protobuf.Any`. */
function requestInfoDetail(requestId: string): string {
  const any = field(FIELD_1, TYPE_URL) + field(FIELD_2, requestInfo(requestId));
  return field(FIELD_3, any);
}

/** The id of a call is ASCII: see request-id.ts. */
function requestInfo(requestId: string): string {
  return field(FIELD_1, requestId);
}

function field(tag: string, bytes: string): string {
  return tag + varint(bytes.length) + bytes;
}

/** Without padding, as gRPC has binary headers and Connect its details. */
function base64(bytes: string): string {
  const text = Buffer.from(bytes, "latin1").toString("base64");
  const padding = text.indexOf("=");
  return padding === -1 ? text : text.slice(0, padding);
}
