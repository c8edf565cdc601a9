import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  Code,
  ConnectError,
  type ContextValues,
  type Interceptor,
  type StreamResponse,
} from "@connectrpc/connect";
import { errorFacts, isFault } from "../error-facts.ts";
import { AuthError, type NamedOrganization, type Reason } from "../errors.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { OrganizationChoicesSchema } from "../gen/latchkey/v1/token_pb.ts";
import { isStorageFault } from "../storage/storage-error.ts";
import { faultKey } from "./call-context.ts";

const DOMAIN = "latchkey";
/** In base64 and with all else, they stay within the 8 KiB of a header list that everybody takes. */
const MOST_CHOICES_BYTES = 4096;

/** The one place where what was thrown becomes what a caller sees. */
export function createErrorInterceptor(): Interceptor {
  return (next) => async (request) => {
    try {
      const response = await next(request);
      return response.stream
        ? { ...response, message: untilRefused(response.message, request.contextValues) }
        : response;
    } catch (thrown) {
      throw seen(thrown, request.contextValues);
    }
  };
}

/** A stream may be refused in its middle. */
async function* untilRefused(
  messages: StreamResponse["message"],
  values: ContextValues,
): StreamResponse["message"] {
  try {
    yield* messages;
  } catch (thrown) {
    throw seen(thrown, values);
  }
}

/** What the caller sees; a fault of ours is kept for the log. */
function seen(thrown: unknown, values: ContextValues): ConnectError {
  const error = translate(thrown);
  values.set(faultKey, faultOf(error));
  return error instanceof AuthError ? toConnectError(error) : error;
}

/** What went wrong on our side, for the log. Undefined: nothing did. */
export function faultOf(error: AuthError | ConnectError): unknown {
  return error instanceof AuthError && isFault(error) ? (error.cause ?? error) : undefined;
}

/** @returns an AuthError, or what Connect itself has to say. */
export function translate(thrown: unknown): AuthError | ConnectError {
  if (thrown instanceof AuthError) {
    return thrown;
  }
  if (thrown instanceof ConnectError) {
    return thrown.code === Code.InvalidArgument ? withReason(thrown, "REQUEST_INVALID") : thrown;
  }
  return new AuthError(isStorageFault(thrown) ? "UNAVAILABLE" : "INTERNAL", { cause: thrown });
}

/** What the caller is told. */
export function toConnectError(error: AuthError): ConnectError {
  const { code, reason, message, metadata, retryAfterMillis } = errorFacts(error);
  const translated = new ConnectError(message, code);
  translated.details.push(errorInfo(reason, metadata));
  if (error.organizations.length > 0) {
    const value = choicesOf(error.organizations);
    translated.details.push({ desc: OrganizationChoicesSchema, value });
  }
  if (retryAfterMillis !== undefined) {
    const retryDelay = durationFromMs(retryAfterMillis);
    translated.details.push({ desc: RetryInfoSchema, value: create(RetryInfoSchema, { retryDelay }) });
    // RFC 9110 section 10.2.3, for clients that look no further. Whole seconds are all that it can say.
    translated.metadata.set("retry-after", String(Math.ceil(retryAfterMillis / 1000)));
  }
  return translated;
}

/** As many as there is room for, whole: in gRPC, details are a trailer. */
function choicesOf(organizations: readonly NamedOrganization[]) {
  const choices = create(OrganizationChoicesSchema, { organizations: [...organizations] });
  while (toBinary(OrganizationChoicesSchema, choices).length > MOST_CHOICES_BYTES) {
    choices.organizations.pop();
    choices.truncated = true;
  }
  return choices;
}

/** What protovalidate found keeps its own detail, with the fields, beside the reason. */
function withReason(error: ConnectError, reason: Reason): ConnectError {
  error.details.push(errorInfo(reason, {}));
  return error;
}

function errorInfo(reason: Reason, metadata: Record<string, string>) {
  return { desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { reason, domain: DOMAIN, metadata }) };
}
