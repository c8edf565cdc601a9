/** What the port answers to plain HTTP, besides the RPCs. */
export interface HttpPages {
  /** The public keys, for verifiers outside (RFC 7517 section 5). */
  readonly jwks: () => Promise<object>;
  /** The URL of the deployment, which is the issuer of its tokens. */
  readonly issuer: string;
  /** Whether calls can be answered: not while starting, draining, or without the database. */
  readonly isReady: () => Promise<boolean>;
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  /** Seconds that it may be kept (RFC 9111 section 5.2.2.1). */
  readonly maxAge?: number;
}

const text = (status: number, body: string): Page => ({ status, type: "text/plain; charset=utf-8", body });

/** RFC 8414. A token is asked for by TokenService: there are no endpoints of OAuth, and no grants of it. */
function metadata({ issuer }: HttpPages): Page {
  const content = {
    issuer,
    jwks_uri: `${issuer}${JWKS}`,
    response_types_supported: [],
    grant_types_supported: [],
  };
  return { status: 200, type: "application/json", body: JSON.stringify(content), maxAge: 300 };
}

const JWKS = "/.well-known/jwks.json";
const METADATA = "/.well-known/oauth-authorization-server";

const PAGES: Readonly<Record<string, (pages: HttpPages) => Page | Promise<Page>>> = {
  "/livez": () => text(200, "live\n"),
  "/readyz": async (pages) => ((await pages.isReady()) ? text(200, "ready\n") : text(503, "not ready\n")),
  // Verifiers keep it for ten minutes more: together, less than a key is published before it signs.
  [JWKS]: async (pages) => ({
    status: 200,
    type: "application/jwk-set+json",
    body: JSON.stringify(await pages.jwks()),
    maxAge: 300,
  }),
  [METADATA]: metadata,
};

/** What is needed of a request and its answer, of either HTTP version. */
interface PageRequest {
  readonly url?: string | undefined;
  readonly method?: string | undefined;
}
interface PageResponse {
  statusCode: number;
  setHeader(name: string, value: string | number): unknown;
  end(body: string): unknown;
}

export async function servePage(
  pages: HttpPages,
  request: PageRequest,
  response: PageResponse,
): Promise<void> {
  const asked = (request.url ?? "").split("?", 1)[0] ?? "";
  // An issuer with a path has it at the end (RFC 8414 section 3.1).
  const path = asked === `${METADATA}${new URL(pages.issuer).pathname}` ? METADATA : asked;
  const make = Object.hasOwn(PAGES, path) ? PAGES[path] : undefined;
  if (make === undefined) {
    send(response, text(404, "Not found.\n"));
  } else if (request.method === "GET") {
    send(response, await make(pages));
  } else if (request.method === "HEAD") {
    send(response, await make(pages), "");
  } else {
    response.setHeader("allow", "GET, HEAD");
    send(response, text(405, "Only GET.\n"));
  }
}

function send(response: PageResponse, page: Page, body = page.body): void {
  response.statusCode = page.status;
  response.setHeader("content-type", page.type);
  response.setHeader("cache-control", page.maxAge ? `public, max-age=${page.maxAge}` : "no-store");
  response.setHeader("x-content-type-options", "nosniff");
  response.setHeader("content-length", Buffer.byteLength(page.body));
  response.end(body);
}
