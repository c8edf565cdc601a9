import { cors } from "@connectrpc/connect";
import type { NodeHandler } from "./node-handler.ts";

/** How long a browser may remember what it was allowed, in seconds: what Chromium takes at most. */
const MAX_AGE = "7200";
const ALLOWED_HEADERS = [
  ...cors.allowedHeaders,
  "Authorization",
  "X-API-Key",
  "X-Org-Id",
  "X-Request-Id",
  "Retry-After",
];
const EXPOSED_HEADERS = [...cors.exposedHeaders, "X-Request-Id"];

/**
 * Lets pages of the listed origins call from a browser (Fetch standard, "CORS protocol"), by the headers
 * that Connect-Web and gRPC-Web send. Internal keys have no place in a browser, so theirs is not among
 * them. They may come with the cookie of a browser session, which says for itself whose page may use it. Pages of
 * other origins get no answer that their browser would show them; the call itself is refused or not by its
 * credential, as any other.
 *
 * @param origins such as `https://dashboard.example.com`, compared to the letter.
 */
export function withCors(origins: ReadonlySet<string>, handler: NodeHandler): NodeHandler {
  if (origins.size === 0) {
    return handler;
  }
  return (request, response, body) => {
    // Also where there is no Origin, or a cache would hand one page's answer to another.
    response.setHeader("vary", "Origin");
    const { origin } = request.headers;
    const isAllowed = origin !== undefined && origins.has(origin);
    if (isAllowed) {
      response.setHeader("access-control-allow-origin", origin);
      response.setHeader("access-control-allow-credentials", "true");
      response.setHeader("access-control-expose-headers", EXPOSED_HEADERS.join(", "));
    }
    const isPreflight =
      request.method === "OPTIONS" && request.headers["access-control-request-method"] !== undefined;
    if (!isPreflight) {
      return handler(request, response, body);
    }
    response.setHeader("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    if (isAllowed) {
      response.setHeader("access-control-allow-methods", cors.allowedMethods.join(", "));
      response.setHeader("access-control-allow-headers", ALLOWED_HEADERS.join(", "));
      response.setHeader("access-control-max-age", MAX_AGE);
    }
    response.statusCode = 204;
    response.end();
  };
}
