import { Code, ConnectError } from "@connectrpc/connect";
import {
  createAsyncIterable,
  encodeEnvelope,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  createEndStreamSerialization,
  endStreamFlag,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import type { WireFormat } from "./wire-format.ts";

const endStream = createEndStreamSerialization(undefined);

/** A call that the transport refuses: code and message, never details. The metadata becomes headers. */
export class WireRefusal extends ConnectError {
  constructor(code: Code, message: string, metadata?: HeadersInit) {
    super(message, code, metadata);
  }

  /** ConnectError's own would take every ConnectError for one of these, and none with another name for its own. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && Object.getPrototypeOf(value) === WireRefusal.prototype;
  }
}

/** An answer that was given before the interceptors saw the call. */
export interface RefusedAnswer extends UniversalServerResponse {
  /** Why, for the log: a code, or HTTP's status where the request was no call. */
  readonly refusal: string;
}

/**
 * Answers a call with an error in the form of its protocol, before anything else was answered.
 *
 * @param status of a unary call of Connect; by default what its protocol gives the code.
 */
export function refuse(
  format: WireFormat,
  refusal: WireRefusal,
  status: number = codeToHttpStatus(refusal.code),
): RefusedAnswer {
  return { ...answerOf(format, refusal, status), refusal: Code[refusal.code] };
}

function answerOf(format: WireFormat, refusal: WireRefusal, status: number): UniversalServerResponse {
  const header = new Headers(refusal.metadata);
  const error = new ConnectError(refusal.rawMessage, refusal.code);
  switch (format.protocol) {
    case "grpc":
      header.set("content-type", format.contentType ?? "application/grpc");
      return { status: 200, header, trailer: setTrailerStatus(new Headers(), error) };
    case "grpc-web": {
      header.set("content-type", format.contentType ?? "application/grpc-web");
      const trailer = trailerSerialize(setTrailerStatus(new Headers(), error));
      return { status: 200, header, body: createAsyncIterable([encodeEnvelope(trailerFlag, trailer)]) };
    }
    case "connect-stream": {
      header.set("content-type", format.contentType ?? "application/connect+json");
      const end = endStream.serialize({ metadata: new Headers(), error });
      return { status: 200, header, body: createAsyncIterable([encodeEnvelope(endStreamFlag, end)]) };
    }
    case "connect": {
      header.set("content-type", "application/json");
      const body = errorToJsonBytes(error, undefined);
      header.set("content-length", String(body.byteLength));
      return { status, header, body: createAsyncIterable([body]) };
    }
  }
}

/** Refuses a request that is no call, in HTTP's own terms. */
export function refuseHttp(status: number, header: Record<string, string> = {}): RefusedAnswer {
  return { status, header: new Headers({ ...header, "content-length": "0" }), refusal: `HTTP ${status}` };
}
