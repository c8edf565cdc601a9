import { Code } from "@connectrpc/connect";
import { parseTimeout as parseConnectTimeout } from "@connectrpc/connect/protocol-connect";
import { parseTimeout as parseGrpcTimeout } from "@connectrpc/connect/protocol-grpc";
import type { WireProtocol } from "./wire-format.ts";
import { WireRefusal } from "./wire-refusal.ts";

/** The longest that a timer of Node runs; it takes a longer time for none. Connect's protocol allows to clamp. */
const LONGEST_MS = 2 ** 31 - 1;

const CONNECT_TIMEOUT = {
  name: "connect-timeout-ms",
  parse: parseConnectTimeout,
  form: "at most 10 digits",
  longest: String(LONGEST_MS),
};
const GRPC_TIMEOUT = {
  name: "grpc-timeout",
  parse: parseGrpcTimeout,
  form: "at most 8 digits and a unit",
  longest: `${Math.floor(LONGEST_MS / 1000)}S`,
};

/** What each protocol calls its headers. */
const NAMES = {
  grpc: { timeout: GRPC_TIMEOUT, encoding: "grpc-encoding", accept: "grpc-accept-encoding" },
  "grpc-web": { timeout: GRPC_TIMEOUT, encoding: "grpc-encoding", accept: "grpc-accept-encoding" },
  connect: { timeout: CONNECT_TIMEOUT, encoding: "content-encoding", accept: "accept-encoding" },
  "connect-stream": {
    timeout: CONNECT_TIMEOUT,
    encoding: "connect-content-encoding",
    accept: "connect-accept-encoding",
  },
} as const satisfies Record<WireProtocol, unknown>;

/**
 * What is wrong with a call before its body is read. Rewrites in `header` what is right, but not to Connect.
 *
 * @param query of a call by GET.
 * @param encodings the compressions that are served.
 */
export function callFault(
  protocol: WireProtocol,
  header: Headers,
  query: URLSearchParams | undefined,
  encodings: readonly string[],
): WireRefusal | undefined {
  const names = NAMES[protocol];
  // RFC 9110 section 8.4.1: codings are case-insensitive.
  const encoding = header.get(names.encoding)?.toLowerCase() || null;
  if (encoding === null) {
    header.delete(names.encoding);
  } else {
    header.set(names.encoding, encoding);
  }
  return (
    versionFault(protocol, header, query) ??
    encodingFault(query === undefined ? encoding : query.get("compression"), encodings, names.accept) ??
    timeoutFault(header, names.timeout)
  );
}

/** "Servers and proxies may reject traffic without this header": this one does not, but it knows version 1 only. */
function versionFault(
  protocol: WireProtocol,
  header: Headers,
  query: URLSearchParams | undefined,
): WireRefusal | undefined {
  if (protocol === "grpc" || protocol === "grpc-web") {
    return undefined;
  }
  const [found, only] =
    query === undefined ? [header.get("connect-protocol-version"), "1"] : [query.get("connect"), "v1"];
  return found === null || found === only
    ? undefined
    : new WireRefusal(Code.InvalidArgument, `the version of Connect's protocol has to be ${only}`);
}

function encodingFault(
  encoding: string | null,
  encodings: readonly string[],
  accept: string,
): WireRefusal | undefined {
  if (encoding === null || encoding === "identity" || encodings.includes(encoding)) {
    return undefined;
  }
  return new WireRefusal(
    Code.Unimplemented,
    `the compression is not served: it can be one of ${encodings.join(", ")}`,
    { [accept]: encodings.join(", ") },
  );
}

function timeoutFault(header: Headers, timeout: typeof GRPC_TIMEOUT): WireRefusal | undefined {
  const { timeoutMs, error } = timeout.parse(header.get(timeout.name), Number.POSITIVE_INFINITY);
  if (error !== undefined) {
    return new WireRefusal(Code.InvalidArgument, `${timeout.name} has to be ${timeout.form}`);
  }
  if (timeoutMs === 0) {
    return new WireRefusal(Code.DeadlineExceeded, "the call came with no time left");
  }
  if (timeoutMs !== undefined && timeoutMs > LONGEST_MS) {
    header.set(timeout.name, timeout.longest);
  }
  return undefined;
}

/** base64 with the URL-safe alphabet, RFC 4648 section 5, its padding optional. */
const BASE64_URL = /^(?:[\w-]{4})*(?:[\w-]{2}(?:==)?|[\w-]{3}=?)?$/;

/** What is wrong with the query of a call by GET. Other parameters than Connect's are let through. */
export function queryFault(query: URLSearchParams, url: string): WireRefusal | undefined {
  const twice = ["connect", "encoding", "base64", "compression", "message"].find(
    (name) => query.getAll(name).length > 1,
  );
  if (twice !== undefined) {
    return malformed(`${twice} is given twice`);
  }
  const missing = ["encoding", "message"].find((name) => !query.has(name));
  if (missing !== undefined) {
    return malformed(`${missing} is missing`);
  }
  if (query.get("base64") === "1") {
    return BASE64_URL.test(query.get("message") ?? "") ? undefined : malformed("message is not base64");
  }
  // URLSearchParams takes what is not UTF-8 for U+FFFD, and a lone % for itself.
  const [, message = ""] = /[?&]message=([^&#]*)/.exec(url) ?? [];
  return isUtf8(message) ? undefined : malformed("message is not percent-encoded UTF-8");
}

function malformed(what: string): WireRefusal {
  return new WireRefusal(Code.InvalidArgument, `the query is malformed: ${what}`);
}

function isUtf8(percentEncoded: string): boolean {
  try {
    decodeURIComponent(percentEncoded);
    return true;
  } catch {
    return false;
  }
}
