import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { after, before, describe, test } from "node:test";
import { startService, type TestService } from "../support/service.ts";

const METHOD = "/latchkey.v1.AuthenticationService/Authenticate";
const ALLOWED = "https://dashboard.latchkey.test";

describe("CORS", () => {
  let service: TestService;
  before(async () => {
    service = await startService({ corsOrigins: [ALLOWED] });
  });
  after(() => service.stop());

  const preflight = (origin: string, headers: string, method = "POST") =>
    fetch(service.url + METHOD, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
      },
    });

  test("a listed origin may send what Connect-Web and gRPC-Web need, and no internal key", async () => {
    const answer = await preflight(ALLOWED, "content-type,connect-protocol-version");
    assert.equal(answer.status, 204);
    assert.equal(answer.headers.get("access-control-allow-origin"), ALLOWED);
    const allowed = (answer.headers.get("access-control-allow-headers") ?? "").toLowerCase().split(", ");
    for (const name of [
      "content-type",
      "connect-protocol-version",
      "connect-timeout-ms",
      "x-grpc-web",
      "x-user-agent",
      "grpc-timeout",
      "authorization",
      "x-api-key",
      "x-org-id",
    ]) {
      assert.ok(allowed.includes(name), name);
    }
    assert.equal(allowed.includes("x-internal-key"), false);
    // The cookie of a browser session, which says for itself whose page may use it.
    assert.equal(answer.headers.get("access-control-allow-credentials"), "true");
    assert.match(answer.headers.get("vary") ?? "", /Origin/);
  });

  for (const origin of [
    "https://evil.test",
    "http://dashboard.latchkey.test",
    "https://dashboard.latchkey.test.evil.test",
    "https://dashboard.latchkey.test:8443",
    "https://DASHBOARD.latchkey.test",
    "null",
    "*",
  ]) {
    test(`the origin ${origin} is shown nothing`, async () => {
      for (const answer of [
        await preflight(origin, "content-type"),
        await fetch(service.url + METHOD, {
          method: "POST",
          headers: { origin, "content-type": "application/json" },
          body: "{}",
        }),
      ]) {
        assert.equal(answer.headers.get("access-control-allow-origin"), null);
        assert.equal(answer.headers.get("access-control-allow-credentials"), null);
        assert.match(answer.headers.get("vary") ?? "", /Origin/);
      }
    });
  }

  test("an answer to a listed origin shows the headers that gRPC-Web reads", async () => {
    const answer = await fetch(service.url + METHOD, {
      method: "POST",
      headers: { origin: ALLOWED, "content-type": "application/json" },
      body: "{}",
    });
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get("access-control-allow-origin"), ALLOWED);
    const exposed = (answer.headers.get("access-control-expose-headers") ?? "").toLowerCase();
    for (const name of ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"]) {
      assert.ok(exposed.includes(name), name);
    }
  });

  for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]) {
    test(`what a page can send unasked is refused: ${type}`, async () => {
      const answer = await fetch(service.url + METHOD, {
        method: "POST",
        headers: { origin: ALLOWED, "content-type": type },
        body: "{}",
      });
      assert.equal(answer.status, 415);
    });
  }

  test("without a list no origin is told anything", async () => {
    const closed = await startService();
    try {
      const answer = await fetch(closed.url + METHOD, {
        method: "POST",
        headers: { origin: ALLOWED, "content-type": "application/json" },
        body: "{}",
      });
      assert.equal(answer.headers.get("access-control-allow-origin"), null);
    } finally {
      await closed.stop();
    }
  });
});

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));

describe("a page in Chromium", () => {
  for (const isListed of [true, false]) {
    const outcome = isListed ? "reads the answer" : "is kept from the answer";
    test(`of ${isListed ? "a listed" : "another"} origin ${outcome}, by Connect and gRPC-Web`, async (t) => {
      if (CHROMIUM === undefined) {
        t.skip("Chromium is not installed: apt-get install chromium");
        return;
      }
      const pages = await servePages();
      const origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
      const service = await startService({ corsOrigins: [isListed ? origin : ALLOWED] });
      try {
        const query = new URLSearchParams({ service: service.url, key: service.apiKey });
        const shown = await render(CHROMIUM, `${origin}/page?${query}`);
        const expected = isListed ? "acme" : "unavailable or unknown";
        for (const transport of ["connect", "grpc-web"]) {
          const [, result] = new RegExp(`${transport}: ([^<]*)<`).exec(shown) ?? [];
          assert.equal(result, expected, `${transport}: ${shown}`);
        }
      } finally {
        await service.stop();
        pages.close();
      }
    });
  }
});

/** Serves a page that calls the service, with the modules that it imports straight from this tree. */
async function servePages(): Promise<Server> {
  const server = createServer((request, response) => {
    const path = normalize((request.url ?? "").split("?")[0] ?? "");
    const answer = async () => {
      if (path === "/page") {
        return { type: "text/html", body: PAGE };
      }
      const text = await readFile(join(process.cwd(), path), "utf8");
      return { type: "text/javascript", body: path.endsWith(".ts") ? stripTypeScriptTypes(text) : text };
    };
    answer().then(
      ({ type, body }) => response.setHeader("content-type", type).end(body),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

const esm = (name: string) => `/node_modules/@${name}/dist/esm`;
const IMPORTS = {
  "@connectrpc/connect": `${esm("connectrpc/connect")}/index.js`,
  "@connectrpc/connect/protocol": `${esm("connectrpc/connect")}/protocol/index.js`,
  "@connectrpc/connect/protocol-connect": `${esm("connectrpc/connect")}/protocol-connect/index.js`,
  "@connectrpc/connect/protocol-grpc-web": `${esm("connectrpc/connect")}/protocol-grpc-web/index.js`,
  "@connectrpc/connect-web": `${esm("connectrpc/connect-web")}/index.js`,
  "@bufbuild/protobuf": `${esm("bufbuild/protobuf")}/index.js`,
  "@bufbuild/protobuf/codegenv2": `${esm("bufbuild/protobuf")}/codegenv2/index.js`,
  "@bufbuild/protobuf/reflect": `${esm("bufbuild/protobuf")}/reflect/index.js`,
  "@bufbuild/protobuf/wire": `${esm("bufbuild/protobuf")}/wire/index.js`,
  "@bufbuild/protobuf/wkt": `${esm("bufbuild/protobuf")}/wkt/index.js`,
};

const PAGE = `<!doctype html>
<script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>
<body><script type="module">
  import { createClient, ConnectError, Code } from "@connectrpc/connect";
  import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
  import { AuthenticationService } from "/src/gen/latchkey/v1/authentication_pb.ts";
  const query = new URLSearchParams(location.search);
  const headers = [{ name: "X-API-Key", value: query.get("key") }];
  for (const [name, create] of [["connect", createConnectTransport], ["grpc-web", createGrpcWebTransport]]) {
    const client = createClient(AuthenticationService, create({ baseUrl: query.get("service") }));
    const row = document.body.appendChild(document.createElement("p"));
    try {
      const answer = await client.authenticate({ headers }, { headers: { "x-request-id": "page" } });
      row.textContent = name + ": " + answer.organization.name;
    } catch (error) {
      const isHidden = [Code.Unavailable, Code.Unknown].includes(ConnectError.from(error).code);
      row.textContent = name + ": " + (isHidden ? "unavailable or unknown" : error.message);
    }
  }
</script></body>`;

/** What a page looks like once it has come to rest. */
async function render(chromium: string, url: string): Promise<string> {
  const profile = await mkdtemp(join(tmpdir(), "latchkey-chromium-"));
  try {
    const browser = spawn(
      chromium,
      [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        `--user-data-dir=${profile}`,
        "--virtual-time-budget=15000",
        "--dump-dom",
        url,
      ],
      { stdio: ["ignore", "pipe", "ignore"] },
    );
    let shown = "";
    for await (const chunk of browser.stdout) {
      shown += chunk;
    }
    return shown;
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 10 });
  }
}
