/** How a call that is served here is made. */
export type LeanFormat = "grpc" | "proto" | "json";

/** The head of a call that is served here. */
export interface CallHead {
  readonly format: LeanFormat;
  /** As it came. */
  readonly contentType: string;
  /** In milliseconds. Undefined: the call has no deadline. */
  readonly timeoutMs: number | undefined;
  /** The compressions that its client takes, as it says so. Empty: none. */
  readonly accepts: string;
}

const FORMATS: ReadonlyMap<string, LeanFormat> = new Map([
  ["application/grpc", "grpc"],
  ["application/grpc+proto", "grpc"],
  ["application/proto", "proto"],
  ["application/json", "json"],
]);

/** What a call is read by. */
interface Fields {
  contentType: string | undefined;
  authority: string | undefined;
  grpcTimeout: string | undefined;
  connectTimeout: string | undefined;
  acceptEncoding: string | undefined;
  grpcAcceptEncoding: string | undefined;
  contentEncoding: string | undefined;
  grpcEncoding: string | undefined;
  version: string | undefined;
}

const READ: ReadonlyMap<string, keyof Fields> = new Map([
  ["content-type", "contentType"],
  ["host", "authority"],
  [":authority", "authority"],
  ["grpc-timeout", "grpcTimeout"],
  ["connect-timeout-ms", "connectTimeout"],
  ["accept-encoding", "acceptEncoding"],
  ["grpc-accept-encoding", "grpcAcceptEncoding"],
  ["content-encoding", "contentEncoding"],
  ["grpc-encoding", "grpcEncoding"],
  ["connect-protocol-version", "version"],
]);

/** Whose answers depend on more than is known here. */
const UNUSUAL: ReadonlySet<string> = new Set(["origin", "expect", "upgrade"]);

/** The longest that a timer of Node runs, in milliseconds. */
const LONGEST_MS = 2 ** 31 - 1;
const CONNECT_TIMEOUT = /^\d{1,10}$/;
/** grpc/grpc, doc/PROTOCOL-HTTP2.md. */
const GRPC_TIMEOUT = /^\d{1,8}[HMSm]$/;
/** In milliseconds. Nobody waits for less than one of them. */
const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1 };

/** Authorities that were found to be good. The port has few, but anybody can send others. */
const authorities = new Set<string>();
const MOST_AUTHORITIES = 100;

/**
 * Reads the head of a POST to a unary method.
 *
 * @param rawHeaders names and values by turns, as they came.
 * @returns undefined for whatever is unusual or wrong: it has to be served the long way.
 */
export function readCallHead(isHttp2: boolean, rawHeaders: readonly string[]): CallHead | undefined {
  const fields = readFields(isHttp2, rawHeaders);
  const contentType = fields?.contentType ?? "";
  const format = FORMATS.get(contentType);
  if (fields === undefined || format === undefined || !isGoodAuthority(fields.authority)) {
    return undefined;
  }
  if (!isPlain(fields.contentEncoding) || !isPlain(fields.grpcEncoding)) {
    return undefined;
  }
  const isGrpc = format === "grpc";
  if (isGrpc ? !isHttp2 : fields.version !== undefined && fields.version !== "1") {
    return undefined;
  }
  const timeoutMs = isGrpc ? grpcTimeout(fields.grpcTimeout) : connectTimeout(fields.connectTimeout);
  if (timeoutMs === 0) {
    return undefined;
  }
  const accepts = (isGrpc ? fields.grpcAcceptEncoding : fields.acceptEncoding) ?? "";
  return { format, contentType, timeoutMs: timeoutMs && Math.min(timeoutMs, LONGEST_MS), accepts };
}

/** @returns undefined where one of them comes twice, and may be read in two ways. */
function readFields(isHttp2: boolean, rawHeaders: readonly string[]): Fields | undefined {
  const fields: Fields = {
    contentType: undefined,
    authority: undefined,
    grpcTimeout: undefined,
    connectTimeout: undefined,
    acceptEncoding: undefined,
    grpcAcceptEncoding: undefined,
    contentEncoding: undefined,
    grpcEncoding: undefined,
    version: undefined,
  };
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const given = rawHeaders[at] ?? "";
    // HTTP/2 has them in lower case (RFC 9113 section 8.2.1).
    const name = isHttp2 ? given : given.toLowerCase();
    const field = READ.get(name);
    if (field !== undefined) {
      if (fields[field] !== undefined) {
        return undefined;
      }
      fields[field] = rawHeaders[at + 1];
    } else if (UNUSUAL.has(name)) {
      return undefined;
    }
  }
  return fields;
}

function isPlain(encoding: string | undefined): boolean {
  return encoding === undefined || encoding === "identity";
}

/** Whether a URL can be made with it, which the long way needs (RFC 9112 section 3.2). */
function isGoodAuthority(authority: string | undefined): boolean {
  if (authority === undefined || authority === "") {
    return false;
  }
  if (authorities.has(authority)) {
    return true;
  }
  if (!URL.canParse(`http://${authority}`)) {
    return false;
  }
  if (authorities.size === MOST_AUTHORITIES) {
    authorities.clear();
  }
  authorities.add(authority);
  return true;
}

/** @returns in milliseconds; 0 where it is for the long way. */
function grpcTimeout(text: string | undefined): number | undefined {
  if (text === undefined) {
    return undefined;
  }
  return GRPC_TIMEOUT.test(text) ? Number(text.slice(0, -1)) * (UNITS[text.slice(-1)] ?? 0) : 0;
}

function connectTimeout(text: string | undefined): number | undefined {
  if (text === undefined) {
    return undefined;
  }
  return CONNECT_TIMEOUT.test(text) ? Number(text) : 0;
}
