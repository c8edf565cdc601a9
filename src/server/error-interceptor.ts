import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { AuthError, FAULTS, type NamedOrganization, type Reason } from "../errors.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { OrganizationChoicesSchema } from "../gen/latchkey/v1/token_pb.ts";
import { isStorageFault } from "../storage/storage-error.ts";
import { faultKey } from "./call-context.ts";

const DOMAIN = "latchkey";
/** Of one entry, in characters: an answer is not to outgrow its request. */
const MOST_METADATA = 1024;
/** In base64 and with all else, they stay within the 8 KiB of a header list that everybody takes. */
const MOST_CHOICES_BYTES = 4096;

const CODES = {
  invalid_argument: Code.InvalidArgument,
  unauthenticated: Code.Unauthenticated,
  permission_denied: Code.PermissionDenied,
  failed_precondition: Code.FailedPrecondition,
  not_found: Code.NotFound,
  already_exists: Code.AlreadyExists,
  resource_exhausted: Code.ResourceExhausted,
  unavailable: Code.Unavailable,
  internal: Code.Internal,
} as const satisfies Record<AuthError["code"], Code>;

/** The one place where what was thrown becomes what a caller sees. */
export function createErrorInterceptor(): Interceptor {
  return (next) => async (request) => {
    try {
      return await next(request);
    } catch (thrown) {
      const error = translate(thrown);
      request.contextValues.set(faultKey, faultOf(error));
      throw error instanceof AuthError ? toConnectError(error) : error;
    }
  };
}

/** What went wrong on our side, for the log. Undefined: nothing did. */
export function faultOf(error: AuthError | ConnectError): unknown {
  return error instanceof AuthError && FAULTS.has(error.reason) ? (error.cause ?? error) : undefined;
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
  const translated = new ConnectError(error.message, CODES[error.code]);
  translated.details.push(errorInfo(error.reason, error.metadata));
  if (error.organizations.length > 0) {
    const value = choicesOf(error.organizations);
    translated.details.push({ desc: OrganizationChoicesSchema, value });
  }
  if (error.retryAfterMillis !== undefined) {
    const retryDelay = durationFromMs(error.retryAfterMillis);
    translated.details.push({ desc: RetryInfoSchema, value: create(RetryInfoSchema, { retryDelay }) });
    // RFC 9110 section 10.2.3, for clients that look no further. Whole seconds are all that it can say.
    translated.metadata.set("retry-after", String(Math.ceil(error.retryAfterMillis / 1000)));
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

function errorInfo(reason: Reason, details: Readonly<Record<string, string>>) {
  const metadata = Object.fromEntries(
    Object.entries(details).map(([name, value]) => [name, value.slice(0, MOST_METADATA)]),
  );
  return { desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { reason, domain: DOMAIN, metadata }) };
}
