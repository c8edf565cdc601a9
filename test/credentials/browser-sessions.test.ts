import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { ISSUER, startService, type TestService } from "../support/service.ts";
import { logIn } from "./session-support.ts";

const LISTED = "https://dashboard.latchkey.test";
const NAME = "__Host-latchkey_refresh";

let service: TestService;
let password: Password;
before(async () => {
  service = await startService({ corsOrigins: [LISTED] });
  password = await makePassword(service.core);
});
after(() => service.stop());

const run = (sql: string, ...values: unknown[]) =>
  query<Record<string, unknown>>(service.connection, sql, values);
const add = () => addUser(service.core, { organizationId: service.organizationId, role: "member", password });

interface Answer {
  readonly status: number;
  /** The reason of a refusal. */
  readonly reason: string | undefined;
  readonly body: Record<string, unknown>;
  /** What the browser is to keep. Undefined: nothing is said of it. */
  readonly cookie: string | undefined;
  readonly setCookie: readonly string[];
  readonly headers: Headers;
}

async function call(
  method: "IssueToken" | "RevokeToken",
  body: object,
  {
    origin = LISTED,
    cookie,
    ...more
  }: { origin?: string; cookie?: string | undefined; authorization?: string } = {},
): Promise<Answer> {
  const response = await fetch(`${service.url}/latchkey.v1.TokenService/${method}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(origin !== "" && { origin }),
      ...(cookie !== undefined && { cookie: `theme=dark; ${NAME}=${cookie}; lang=de` }),
      ...more,
    },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as Record<string, unknown> & {
    details?: { debug?: { reason?: string } }[];
  };
  const setCookie = response.headers.getSetCookie();
  const [, kept] = new RegExp(`^${NAME}=([^;]*);`).exec(setCookie[0] ?? "") ?? [];
  const reason = answer.details?.find(({ debug }) => debug?.reason)?.debug?.reason;
  return {
    status: response.status,
    reason,
    body: answer,
    cookie: kept,
    setCookie,
    headers: response.headers,
  };
}

const begin = async (origin = LISTED) => {
  const { email } = await add();
  const grant = { password: { email, password: password.text } };
  return await call("IssueToken", { ...grant, browserSession: true }, { origin });
};
const goOn = (cookie: string | undefined, more: { origin?: string } = {}) =>
  call("IssueToken", { refreshToken: {}, browserSession: true }, { cookie, ...more });
const bearer = (answer: Answer) => ({ authorization: `Bearer ${answer.body["accessToken"]}` });

describe("a browser session", () => {
  test("has its refresh token in a cookie that no script reads, and nowhere else", async () => {
    for (const origin of [LISTED, ISSUER]) {
      const first = await begin(origin);
      assert.equal(first.status, 200, JSON.stringify(first.body));
      assert.match(
        first.setCookie.join("\n"),
        /^__Host-latchkey_refresh=rt_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}; Max-Age=(6047\d\d|604800); Path=\/; HttpOnly; Secure; SameSite=Strict$/,
      );
      assert.equal(first.headers.get("access-control-allow-credentials"), origin === LISTED ? "true" : null);
      const next = await goOn(first.cookie, { origin });
      assert.equal(next.status, 200);
      assert.ok(next.cookie?.startsWith("rt_") && next.cookie !== first.cookie);
      for (const { body } of [first, next]) {
        assert.deepEqual(Object.keys(body).toSorted(), [
          "accessToken",
          "expireTime",
          "refreshTokenExpireTime",
          "tokenType",
          "user",
        ]);
        assert.ok(!JSON.stringify(body).includes("rt_"));
      }
      // Two tabs that come at once get the same.
      assert.equal((await goOn(first.cookie, { origin })).cookie, next.cookie);
      await goOn(next.cookie, { origin });
      assert.equal((await goOn(first.cookie, { origin })).reason, "REFRESH_TOKEN_REUSED");
      assert.equal((await goOn(next.cookie, { origin })).reason, "TOKEN_REVOKED");
    }
  });

  test("and another kind of session cannot use each other's way", async () => {
    const browser = await begin();
    const { email } = await add();
    const other = await logIn(service, { email, password: password.text });
    const refusals = [
      await call("IssueToken", { refreshToken: { refreshToken: browser.cookie } }),
      await goOn(other.refreshToken),
      await goOn("rt_made_up"),
      await goOn(undefined),
    ];
    for (const { reason, setCookie } of refusals) {
      assert.equal(reason, "REFRESH_TOKEN_INVALID");
      assert.deepEqual(setCookie, []);
    }
    // A token in the message has no business in the cookie, and a cookie counts only where it was asked for.
    const mixed = { refreshToken: { refreshToken: other.refreshToken }, browserSession: true };
    assert.equal((await call("IssueToken", mixed)).reason, "REQUEST_INVALID");
    const unasked = await call("IssueToken", { refreshToken: {} }, { cookie: browser.cookie });
    assert.equal(unasked.reason, "REQUEST_INVALID");
    // Nobody's was used up.
    assert.equal((await goOn(browser.cookie)).status, 200);
    const stillGood = await call("IssueToken", { refreshToken: { refreshToken: other.refreshToken } });
    assert.equal(stillGood.status, 200);
    assert.deepEqual(stillGood.setCookie, []);
  });

  test("is for pages of the deployment's own origin and of those that are listed: others get nothing", async () => {
    const { email } = await add();
    const session = await begin();
    const count = async () =>
      (
        await run("select (select count(*) from sessions) as a, (select count(*) from login_counters) as b")
      )[0];
    const before = await count();
    for (const origin of [
      "",
      "null",
      "https://evil.test",
      "http://dashboard.latchkey.test",
      "https://dashboard.latchkey.test.evil.test",
      "https://dashboard.latchkey.test:8443",
      "https://DASHBOARD.latchkey.test",
      `${LISTED}/`,
      `${LISTED}, ${LISTED}`,
      service.url,
    ]) {
      for (const text of [password.text, "wrong"]) {
        const grant = { password: { email, password: text } };
        const answer = await call("IssueToken", { ...grant, browserSession: true }, { origin });
        assert.deepEqual([answer.reason, answer.setCookie], ["ORIGIN_DENIED", []], origin);
      }
      const refreshed = await goOn(session.cookie, { origin });
      assert.deepEqual([refreshed.reason, refreshed.setCookie], ["ORIGIN_DENIED", []], origin);
      const ended = await call("RevokeToken", { browserSession: true }, { origin, cookie: session.cookie });
      assert.deepEqual([ended.reason, ended.setCookie], ["ORIGIN_DENIED", []], origin);
    }
    assert.deepEqual(await count(), before, "not even a password was looked at");
    assert.equal((await goOn(session.cookie)).status, 200);
  });

  test("is refused with an Origin that comes twice, and with two cookies", async () => {
    const session = await begin();
    const raw = (headers: readonly (readonly [string, string])[]) =>
      new Promise<string>((resolve, reject) => {
        const asked = httpRequest(`${service.url}/latchkey.v1.TokenService/IssueToken`, {
          method: "POST",
          headers: [["content-type", "application/json"], ["host", "latchkey"], ...headers].flat(),
        });
        asked.on("error", reject).on("response", async (response) => {
          let text = "";
          for await (const chunk of response) {
            text += chunk;
          }
          resolve(text);
        });
        asked.end(JSON.stringify({ refreshToken: {}, browserSession: true }));
      });
    const cookie = ["cookie", `${NAME}=${session.cookie}`] as const;
    const origin = ["origin", LISTED] as const;
    assert.match(await raw([cookie, origin, ["origin", "https://evil.test"]]), /ORIGIN_DENIED/);
    assert.match(await raw([cookie, ["origin", "https://evil.test"], origin]), /ORIGIN_DENIED/);
    assert.match(await raw([cookie, origin, ["cookie", `${NAME}=rt_x`]]), /CREDENTIALS_AMBIGUOUS/);
    assert.match(
      await raw([["cookie", `${NAME}=rt_x; ${NAME}=${session.cookie}`], origin]),
      /CREDENTIALS_AMBIGUOUS/,
    );
    assert.match(await raw([["cookie", `x${NAME}=rt_x; a=${NAME}`], cookie, origin]), /accessToken/);
  });

  test("ends with a logout, which clears the cookie", async () => {
    const cleared = `${NAME}=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Strict`;
    const sessionIdOf = async (answer: Answer) => {
      const [row] = await run(
        "select session_id from refresh_tokens where lookup_id = $1",
        answer.cookie?.split("_")[1],
      );
      return String(row?.["session_id"]);
    };
    const logouts: readonly ((session: Answer) => Promise<Answer>)[] = [
      ({ cookie }) => call("RevokeToken", { browserSession: true }, { cookie }),
      ({ cookie, body }) => call("RevokeToken", { token: body["accessToken"] }, { cookie }),
      ({ cookie }) => call("RevokeToken", { token: cookie }, { cookie }),
      async (session) =>
        await call(
          "RevokeToken",
          { sessionId: await sessionIdOf(session) },
          { cookie: session.cookie, ...bearer(session) },
        ),
      async (session) =>
        await call(
          "RevokeToken",
          { userId: (session.body["user"] as { id: string }).id },
          { cookie: session.cookie, ...bearer(session) },
        ),
    ];
    for (const logOut of logouts) {
      const session = await begin();
      const answer = await logOut(session);
      assert.deepEqual([answer.status, answer.setCookie], [200, [cleared]]);
      assert.equal((await goOn(session.cookie)).reason, "TOKEN_REVOKED");
      // Once more is no error.
      assert.equal(
        (await call("RevokeToken", { browserSession: true }, { cookie: session.cookie })).status,
        200,
      );
    }
    // Whoever ends another session keeps their own.
    const [mine, other] = [await begin(), await begin()];
    const answer = await call("RevokeToken", { token: other.body["accessToken"] }, { cookie: mine.cookie });
    assert.deepEqual([answer.status, answer.setCookie], [200, []]);
    assert.equal((await goOn(mine.cookie)).status, 200);
    // Without a session there is none to end.
    assert.equal((await call("RevokeToken", { browserSession: true })).status, 200);
  });
});

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));

test("Chromium keeps the cookie from scripts, sends it for a listed page, and for no other", async (t) => {
  if (CHROMIUM === undefined) {
    t.skip("Chromium is not installed: apt-get install chromium");
    return;
  }
  const pages = createServer((request, response) => {
    response.setHeader("content-type", "text/html").end(request.url?.startsWith("/evil") ? EVIL : PAGE);
  });
  await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
  const strangers = createServer((_, response) => response.setHeader("content-type", "text/html").end(EVIL));
  await new Promise<void>((resolve) => strangers.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
  const stranger = `http://127.0.0.1:${(strangers.address() as AddressInfo).port}`;
  const replica = await startService({ beside: service, corsOrigins: [origin] });
  try {
    const { email } = await add();
    const asked = new URLSearchParams({ service: replica.url, email, password: password.text, stranger });
    const shown = await render(CHROMIUM, `${origin}/?${asked}`);
    const [, result = "nothing"] = /<pre>([^<]*)<\/pre>/.exec(shown) ?? [];
    assert.deepEqual(result.trim().split("\n"), [
      "login: token",
      "script sees:",
      "refresh: token",
      "again: token",
      "without credentials: REFRESH_TOKEN_INVALID",
      "stranger: kept from the answer, kept from the answer",
      "refresh: token",
      "logout: done",
      "refresh: REFRESH_TOKEN_INVALID",
    ]);
  } finally {
    await replica.stop();
    pages.close();
    strangers.close();
  }
});

const CALL = `
  const query = new URLSearchParams(location.search);
  const call = async (method, body, init = {}) => {
    try {
      const response = await fetch(query.get("service") + "/latchkey.v1.TokenService/" + method, {
        method: "POST",
        headers: { "content-type": "application/json" },
        credentials: "include",
        body: JSON.stringify(body),
        ...init,
      });
      const answer = await response.json();
      if (answer.refreshToken) return "the refresh token in the answer";
      return answer.accessToken ? "token" : answer.details?.find((d) => d.debug?.reason)?.debug.reason ?? "done";
    } catch {
      return "kept from the answer";
    }
  };
  const refresh = { refreshToken: {}, browserSession: true };`;

const PAGE = `<!doctype html><body><pre></pre><script type="module">${CALL}
  const note = (text) => (document.querySelector("pre").textContent += text + "\\n");
  const login = { password: { email: query.get("email"), password: query.get("password") }, browserSession: true };
  note("login: " + await call("IssueToken", login));
  note(("script sees: " + document.cookie).trim());
  note("refresh: " + await call("IssueToken", refresh));
  note("again: " + await call("IssueToken", refresh));
  note("without credentials: " + await call("IssueToken", refresh, { credentials: "omit" }));
  const told = new Promise((resolve) => addEventListener("message", ({ data }) => resolve(data)));
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.src = query.get("stranger") + "/evil" + location.search;
  note("stranger: " + await told);
  note("refresh: " + await call("IssueToken", refresh));
  note("logout: " + await call("RevokeToken", { browserSession: true }));
  note("refresh: " + await call("IssueToken", refresh));
</script></body>`;

const EVIL = `<!doctype html><body><script type="module">${CALL}
  const plain = { headers: { "content-type": "text/plain" } };
  const results = [await call("IssueToken", refresh), await call("RevokeToken", { browserSession: true }, plain)];
  parent.postMessage(results.join(", "), "*");
</script></body>`;

/** What a page looks like once it has come to rest. */
async function render(chromium: string, url: string): Promise<string> {
  const profile = await mkdtemp(join(tmpdir(), "latchkey-chromium-"));
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
  ];
  const own = [`--user-data-dir=${profile}`, "--virtual-time-budget=15000", "--dump-dom", url];
  try {
    const browser = spawn(chromium, [...flags, ...own], { stdio: ["ignore", "pipe", "ignore"] });
    let shown = "";
    for await (const chunk of browser.stdout) {
      shown += chunk;
    }
    return shown;
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 10 });
  }
}
