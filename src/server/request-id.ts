import { randomUUID } from "node:crypto";
import type { HeaderField } from "../credentials/credential-headers.ts";

const VALID = /^[A-Za-z0-9._-]{1,128}$/;
/** W3C Trace Context, section 3.2.2: version, trace id, parent id, flags. */
const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/**
 * What a call is known by: the caller's own `x-request-id` where it is one short word, else the trace that
 * its `traceparent` belongs to, else a new id. Anything else could forge a line of the log.
 */
export function requestIdOf(headers: readonly HeaderField[]): string {
  const own = only(headers, "x-request-id");
  if (own !== undefined && VALID.test(own)) {
    return own;
  }
  const [, traceId] = TRACEPARENT.exec(only(headers, "traceparent") ?? "") ?? [];
  return traceId ?? randomUUID();
}

/** The value of a field that comes once. */
function only(headers: readonly HeaderField[], wanted: string): string | undefined {
  let found: string | undefined;
  for (const { name, value } of headers) {
    if (name.length === wanted.length && name.toLowerCase() === wanted) {
      if (found !== undefined) {
        return undefined;
      }
      found = value;
    }
  }
  return found;
}
