import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { decodeJwt } from "jose";
import { mintKey } from "../../src/credentials/secret-key.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { migrate } from "../../src/storage/migrate.ts";
import { createDatabase, query, urlOf } from "../support/cluster.ts";
import {
  cleanup,
  clientOf,
  fetchPage,
  freePort,
  latchkey,
  type Running,
  refusal,
  refusals,
  within,
} from "../support/process.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";
import { until } from "../support/until.ts";
import { type DatabaseProxy, startProxy } from "./database-proxy.ts";
import { type FakePostgresOptions, startFakePostgres } from "./fake-postgres.ts";
import { lockTable } from "./lock-table.ts";

const PUBLIC_URL = "https://auth.example.test";

describe("latchkey serve refuses to start, in one clear line,", { concurrency: 4 }, () => {
  const good = {
    DATABASE_URL: "postgres://app@db.example.test/latchkey",
    LATCHKEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
    LATCHKEY_PUBLIC_URL: PUBLIC_URL,
  };

  it("without any of its settings, naming all of them at once", async (t) => {
    const lines = await refusals(latchkey(cleanup(t), ["serve"]));
    assert.deepEqual(lines.map((line) => line.split(" ", 1)[0]).sort(), Object.keys(good).sort());
    for (const line of lines) {
      assert.match(line, /is not set; it is needed/);
    }
  });

  it("without one of its settings, naming that one", async (t) => {
    for (const name of Object.keys(good)) {
      const env = Object.fromEntries(Object.entries(good).filter(([other]) => other !== name));
      const line = await refusal(latchkey(cleanup(t), ["serve"], { env }));
      assert.equal(line.split(" ", 1)[0], name);
    }
  });

  it("with values that are wrong, without repeating them", async (t) => {
    const wrong = [
      {
        DATABASE_URL: "http://app:hunter2@db.example.test/latchkey",
        LATCHKEY_ENCRYPTION_KEY: "hunter2",
        LATCHKEY_PUBLIC_URL: "https://app:hunter2@example.test",
        LATCHKEY_CALLERS: "hunter2",
        LATCHKEY_API_KEY_PREFIX: "Hunter2",
      },
      { DATABASE_URL: "postgres://app:hunter2/@db.example.test/latchkey" },
      { DATABASE_URL: "postgres://app:hunter2@db.example.test" },
      // One byte too few, one too many, and in the alphabet of URLs.
      { LATCHKEY_ENCRYPTION_KEY: Buffer.from("hunter2".padEnd(31)).toString("base64") },
      { LATCHKEY_ENCRYPTION_KEY: Buffer.from("hunter2".padEnd(33)).toString("base64") },
      { LATCHKEY_ENCRYPTION_KEY: Buffer.alloc(32, 0xff).toString("base64url") },
    ];
    for (const env of wrong) {
      const command = latchkey(cleanup(t), ["serve"], { env: { ...good, ...env } });
      const lines = await refusals(command);
      assert.deepEqual(lines.map((line) => line.split(" ", 1)[0]).sort(), Object.keys(env).sort());
      const output = command.stdout + command.stderr;
      for (const secret of ["hunter2", "Hunter2", ...Object.values(env)].filter((value) => value !== "")) {
        assert.ok(!output.includes(secret), output);
      }
    }
  });

  it("with a setting that it does not know, together with all other faults", async (t) => {
    const lines = await refusals(
      latchkey(cleanup(t), ["serve"], { env: { ...good, LATCHKEY_CALLER: "any", LATCHKEY_PORT: "0" } }),
    );
    assert.equal(lines.length, 2);
    assert.match(lines.join("\n"), /LATCHKEY_CALLER is not a setting of Latchkey/);
    assert.match(lines.join("\n"), /LATCHKEY_PORT .*1 to 65535/);
  });

  it("on a database that `npm start` made, as migrate and bootstrap do", async (t) => {
    const database = await createDatabase("empty");
    await migrate(database, "development");
    const env = { ...good, DATABASE_URL: urlOf(database) };
    for (const args of [
      ["serve"],
      ["migrate"],
      ["bootstrap", "--organization", "acme", "--email", "a@acme.test"],
    ]) {
      assert.match(await refusal(latchkey(cleanup(t), args, { env })), /made by `npm start` for development/);
    }
  });

  it("under another encryption key than the database's", async (t) => {
    const { connection } = await seeded();
    const line = await refusal((await serve(t, connection, randomBytes(32))).process);
    assert.match(line, /^LATCHKEY_ENCRYPTION_KEY is not the key/);
  });

  it("where the port is taken", async (t) => {
    const { connection, encryptionKey } = await seeded();
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    cleanup(t).defer(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const line = await refusal((await serve(t, connection, encryptionKey, { port })).process);
    assert.match(line, new RegExp(`^127\\.0\\.0\\.1:${port} is in use: .*LATCHKEY_PORT`));
  });

  it("where nobody listens at the database's address", async (t) => {
    const port = await freePort();
    const command = (await serve(t, fakeUrl(port), randomBytes(32))).process;
    assert.match(await refusal(command, 10_000), /^cannot connect to the database: .*ECONNREFUSED/);
    hasNoSecret(command, ["hunter2"]);
  });

  const servers: [string, FakePostgresOptions, RegExp][] = [
    [
      "where the database accepts connections and never answers",
      { isMute: true },
      /^cannot connect to the database: /,
    ],
    [
      "where the database is PostgreSQL 14",
      { version: 140_012 },
      /PostgreSQL 14; Latchkey needs 15 or later/,
    ],
    [
      "where the database refuses the password",
      { refusesPasswords: true },
      /^cannot connect to the database: password authentication failed for user "app"/,
    ],
  ];
  for (const [what, options, line] of servers) {
    it(what, async (t) => {
      const { port } = await startFakePostgres(cleanup(t), options);
      const command = (await serve(t, fakeUrl(port), randomBytes(32))).process;
      assert.match(await refusal(command, 10_000), line);
      hasNoSecret(command, ["hunter2"]);
    });
  }

  it("where the database stops answering after the first connection", async (t) => {
    const proxy = await startProxy(cleanup(t), await createDatabase("empty"), { passing: 1 });
    const command = (await serve(t, proxy.url, randomBytes(32))).process;
    assert.match(await refusal(command, 15_000), /database/);
    assert.ok(proxy.accepted > 1);
  });

  function fakeUrl(port: number): string {
    return `postgres://app:hunter2@127.0.0.1:${port}/latchkey`;
  }
});

describe("latchkey serve", { concurrency: 3 }, () => {
  it("comes up five times at once on an empty database, as one deployment", async (t) => {
    const database = await createDatabase("empty");
    const key = randomBytes(32);
    const replicas = await Promise.all(
      Array.from({ length: 5 }, () => serve(t, database, key, { env: { LATCHKEY_CALLERS: "any" } })),
    );
    await Promise.all(replicas.map((replica) => replica.isListening()));
    for (const table of ["peppers", "signing_keys", "latchkey_deployment"]) {
      assert.equal((await query(database, `select from ${table}`)).length, 1, table);
    }

    const bootstrap = latchkey(
      cleanup(t),
      ["bootstrap", "--organization", "acme", "--email", "a@acme.test"],
      {
        env: { DATABASE_URL: urlOf(database), LATCHKEY_ENCRYPTION_KEY: key.toString("base64") },
      },
    );
    const [, password = ""] = await bootstrap.said(/^password +(\S+)$/m);
    const [first] = replicas;
    assert.ok(first);
    const newPassword = "correct horse battery staple";
    await clientOf(UserService, first.url).changePassword({
      email: "a@acme.test",
      currentPassword: password,
      newPassword,
    });
    const grant = { case: "password", value: { email: "a@acme.test", password: newPassword } } as const;
    const { accessToken } = await clientOf(TokenService, first.url).issueToken({ grant });
    assert.equal(decodeJwt(accessToken).iss, PUBLIC_URL);
    const { secret } = await clientOf(ApiKeyService, first.url, bearer(accessToken)).createApiKey({
      name: "ci",
      permissions: ["calls.read"],
    });

    const jwksOf = async (url: string) => JSON.parse((await fetchPage(`${url}/.well-known/jwks.json`)).body);
    const jwks = await jwksOf(first.url);
    assert.equal(jwks.keys.length, 1);
    for (const { url } of replicas) {
      assert.deepEqual(await jwksOf(url), jwks);
      const client = clientOf(AuthenticationService, url);
      const byToken = await client.authenticate({
        headers: [{ name: "Authorization", value: `Bearer ${accessToken}` }],
      });
      assert.equal(byToken.principal?.email, "a@acme.test");
      const byKey = await client.authenticate({ headers: [{ name: "X-API-Key", value: secret }] });
      assert.deepEqual(byKey.permissions, ["calls.read"]);
    }
  });

  it("tells its state on /livez and /readyz, and asks callers of Authenticate who they are", async (t) => {
    const service = await seeded();
    const { url, isListening } = await serve(t, service.connection, service.encryptionKey);
    await isListening();
    assert.deepEqual(await fetchPage(`${url}/livez`), { status: 200, body: "live\n" });
    assert.deepEqual(await fetchPage(`${url}/readyz`), { status: 200, body: "ready\n" });
    await refusedWith("CALLER_REJECTED", ask(url, service, service.apiKey, {}));
    await ask(url, service, service.apiKey);
  });

  it("logs a JSON object a line, and no secret, whatever is sent to it", async (t) => {
    const service = await seeded();
    const proxy = await startProxy(cleanup(t), service.connection);
    const { process, url, isListening } = await serve(t, proxy.url, service.encryptionKey, {
      env: { LATCHKEY_LOG_LEVEL: "trace" },
    });
    await isListening();
    const { email, password } = service.admin;
    const token = await logIn(url, email, password);
    const unknownKey = mintKey("ak").text;
    const wrongPassword = "canary-wrong-password";
    const send = async () => {
      await Promise.all([
        ...[service.apiKey, unknownKey, `${service.apiKey}x`, "canary-malformed-key"].map((key) =>
          reasonOf(ask(url, service, key)),
        ),
        reasonOf(logIn(url, email, password)),
        reasonOf(logIn(url, email, wrongPassword)),
        reasonOf(clientOf(ApiKeyService, url, bearer(token)).listApiKeys({})),
        reasonOf(clientOf(ApiKeyService, url, bearer(`${token}x`)).listApiKeys({})),
        fetchPage(`${url}/?key=${unknownKey}`),
      ]);
    };
    await send();
    await proxy.cut();
    await send();
    process.kill("SIGTERM");
    assert.deepEqual(await process.ended(), { code: 0, signal: null });
    assert.match(process.stdout, /"msg":"a call failed"/);
    hasNoSecret(process, [
      proxy.password,
      service.encryptionKey.toString("base64"),
      service.apiKey,
      service.internalKey,
      unknownKey,
      "canary-malformed-key",
      password,
      wrongPassword,
      token,
      token.split(".")[2] ?? "",
    ]);
  });

  describe("on SIGTERM", { concurrency: 2 }, () => {
    it("says so on /readyz, answers new calls for a while and the one in flight, and ends with 0", async (t) => {
      const service = await seeded();
      const { process, url, isListening } = await serve(t, service.connection, service.encryptionKey, {
        env: { LATCHKEY_NOTICE_SECONDS: "3" },
      });
      await isListening();
      // Not the keys themselves, which a session may refer to: people can still log in.
      const lock = await lockTable(t, service.connection, "api_key_slots");
      const list = clientOf(ApiKeyService, url, { "x-internal-key": service.internalKey });
      const call = list.listApiKeys({ organizationId: service.organizationId });
      await lock.blocks();

      process.kill("SIGTERM");
      await until("/readyz says 503", async () => (await fetchPage(`${url}/readyz`)).status === 503);
      assert.equal((await fetchPage(`${url}/livez`)).status, 200);
      await logIn(url, service.admin.email, service.admin.password);
      await until("the port is closed", async () => (await fetchPage(`${url}/livez`)).status === 0);
      assert.ok(process.isAlive);

      await lock.release();
      assert.equal((await call).apiKeys.length, 1);
      assert.deepEqual(await process.ended(5_000), { code: 0, signal: null });
      hasNoSecret(process, [service.apiKey, service.internalKey]);
    });

    it("cuts after its time what is still in flight, and ends with 0", async (t) => {
      const service = await seeded();
      const drainSeconds = 1;
      const { process, url, isListening } = await serve(t, service.connection, service.encryptionKey, {
        env: { LATCHKEY_DRAIN_SECONDS: String(drainSeconds) },
      });
      await isListening();
      const lock = await lockTable(t, service.connection, "api_keys");
      const list = clientOf(ApiKeyService, url, { "x-internal-key": service.internalKey });
      const call = list.listApiKeys({ organizationId: service.organizationId }).then(
        () => "answered",
        () => "cut",
      );
      await lock.blocks();
      process.kill("SIGTERM");
      assert.equal(await within((drainSeconds + 4) * 1000, "to cut the call", call), "cut");
      // What the call was doing in the database is not waited for either.
      assert.deepEqual(await process.ended(5_000), { code: 0, signal: null });
    });

    it("ends with 0 within its time, although the database has stopped answering", async (t) => {
      const service = await seeded();
      const proxy = await startProxy(cleanup(t), service.connection);
      const { process, url, isListening } = await serve(t, proxy.url, service.encryptionKey, {
        env: { LATCHKEY_DRAIN_SECONDS: "1" },
      });
      await isListening();
      // So that there are connections of both kinds.
      await ask(url, service, service.apiKey);
      await logIn(url, service.admin.email, service.admin.password);
      proxy.freeze();
      const calls = [
        ask(url, service, service.apiKey),
        logIn(url, service.admin.email, service.admin.password),
      ];
      const settled = Promise.allSettled(calls);
      process.kill("SIGTERM");
      assert.deepEqual(await process.ended(20_000), { code: 0, signal: null });
      await settled;
    });

    it("ends before its time when it is told again", async (t) => {
      const service = await seeded();
      const { process, url, isListening } = await serve(t, service.connection, service.encryptionKey, {
        env: { LATCHKEY_NOTICE_SECONDS: "60" },
      });
      await isListening();
      process.kill("SIGTERM");
      await until("/readyz says 503", async () => (await fetchPage(`${url}/readyz`)).status === 503);
      // Not once: two within a moment may be one that came by two ways.
      await until("it has ended", () => {
        process.kill("SIGTERM");
        return !process.isAlive;
      });
      assert.deepEqual(await process.ended(), { code: null, signal: "SIGTERM" });
    });
  });

  describe("when its database fails", { concurrency: 2 }, () => {
    it("answers unavailable, neither lets in nor refuses, and recovers by itself", async (t) => {
      const service = await seeded();
      const { url, process, proxy } = await serveThroughProxy(t, service);
      const load = startLoad(t, url, service, await logIn(url, service.admin.email, service.admin.password));
      await load.goesOn();

      await proxy.cut();
      await until("/readyz says 503", async () => (await fetchPage(`${url}/readyz`)).status === 503);
      assert.equal((await fetchPage(`${url}/livez`)).status, 200);
      const isUnavailable = async () => {
        load.forget();
        await load.goesOn();
        return isDeepStrictEqual(load.seen(), ALL_UNAVAILABLE);
      };
      // What is remembered is trusted for 5 seconds.
      await until("nothing is answered from memory any more", isUnavailable, { within: 8_000 });
      assert.ok(await isUnavailable());

      await proxy.restore();
      await until("/readyz says 200", async () => (await fetchPage(`${url}/readyz`)).status === 200, {
        within: 5_000,
      });
      load.forget();
      await load.goesOn();
      const history = await load.stop();
      assert.deepEqual(load.seen(), ALL_WELL);
      // Before, between and after.
      neverWrong(history);
      assert.ok(process.isAlive);
      hasNoSecret(process, [proxy.password, service.apiKey, service.internalKey]);
    });

    it("answers unavailable in time where the database says nothing at all, and recovers", async (t) => {
      const service = await seeded();
      const { url, process, proxy } = await serveThroughProxy(t, service);
      const { email, password } = service.admin;
      const token = await logIn(url, email, password);
      proxy.freeze();
      const [page] = await Promise.all([
        within(5_000, "/readyz", fetchPage(`${url}/readyz`)),
        ...[service.apiKey, mintKey("ak").text].map((key) =>
          within(5_000, "Authenticate", refusedWith("UNAVAILABLE", ask(url, service, key))),
        ),
        within(15_000, "IssueToken", refusedWith("UNAVAILABLE", logIn(url, email, password))),
        within(
          15_000,
          "ListApiKeys",
          refusedWith("UNAVAILABLE", clientOf(ApiKeyService, url, bearer(token)).listApiKeys({})),
        ),
      ]);
      assert.equal(page.status, 503);
      proxy.thaw();
      await until("/readyz says 200", async () => (await fetchPage(`${url}/readyz`)).status === 200, {
        within: 5_000,
      });
      await ask(url, service, service.apiKey);
      await logIn(url, email, password);
      assert.ok(process.isAlive);
    });

    it("goes on after all of its connections were terminated, again and again, under load and idle", async (t) => {
      const service = await seeded();
      const { connection } = service;
      const { url, process, isListening } = await serve(t, connection, service.encryptionKey);
      await isListening();
      const load = startLoad(t, url, service, await logIn(url, service.admin.email, service.admin.password));
      const terminate = async () =>
        await query(
          connection,
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid()`,
        );
      let terminated = 0;
      for (let round = 0; round < 10; round++) {
        await load.goesOn();
        terminated += (await terminate()).length;
      }
      load.forget();
      await load.goesOn();
      const history = await load.stop();
      neverWrong(history);
      assert.ok(terminated > 10, `${terminated}`);

      assert.ok((await terminate()).length > 0);
      const recovers = async () =>
        (await reasonOf(ask(url, service, service.apiKey))) === undefined &&
        (await reasonOf(logIn(url, service.admin.email, service.admin.password))) === undefined;
      await until("calls are answered", recovers, { within: 5_000 });
      assert.ok(process.isAlive);
      hasNoSecret(process, [service.apiKey, service.internalKey]);
    });
  });
});

/** A database with one of each credential, whose service has stopped. */
async function seeded(): Promise<TestService> {
  const service = await startService({ publicUrl: PUBLIC_URL, audience: PUBLIC_URL });
  await service.stop();
  return service;
}

interface ServeOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly port?: number;
}

async function serve(
  t: TestContext,
  database: DatabaseConnection | string,
  key: Buffer,
  { env = {}, port }: ServeOptions = {},
): Promise<{ process: Running; url: string; isListening: () => Promise<void> }> {
  const chosen = port ?? (await freePort());
  const process = latchkey(cleanup(t), ["serve"], {
    env: {
      DATABASE_URL: typeof database === "string" ? database : urlOf(database),
      LATCHKEY_ENCRYPTION_KEY: key.toString("base64"),
      LATCHKEY_PUBLIC_URL: PUBLIC_URL,
      LATCHKEY_HOST: "127.0.0.1",
      LATCHKEY_PORT: String(chosen),
      LATCHKEY_NOTICE_SECONDS: "0",
      ...env,
    },
  });
  const isListening = async () => void (await process.said(/"msg":"listening"/));
  return { process, url: `http://127.0.0.1:${chosen}`, isListening };
}

async function serveThroughProxy(t: TestContext, service: TestService) {
  const proxy: DatabaseProxy = await startProxy(cleanup(t), service.connection);
  const served = await serve(t, proxy.url, service.encryptionKey);
  await served.isListening();
  return { ...served, proxy };
}

function ask(
  url: string,
  { internalKey }: TestService,
  apiKey: string,
  caller: Record<string, string> = { "x-internal-key": internalKey },
) {
  return clientOf(AuthenticationService, url, caller).authenticate({
    headers: [{ name: "X-API-Key", value: apiKey }],
  });
}

async function logIn(url: string, email: string, password: string): Promise<string> {
  const grant = { case: "password", value: { email, password } } as const;
  return (await clientOf(TokenService, url).issueToken({ grant })).accessToken;
}

function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

type Kind = "good key" | "unknown key" | "good token" | "management";
const KINDS: readonly Kind[] = ["good key", "unknown key", "good token", "management"];
const RIGHT: Readonly<Record<Kind, string>> = {
  "good key": "answered",
  "unknown key": "API_KEY_INVALID",
  "good token": "answered",
  management: "answered",
};
const ALL_WELL = Object.fromEntries(KINDS.map((kind) => [kind, [RIGHT[kind]]]));
const ALL_UNAVAILABLE = Object.fromEntries(KINDS.map((kind) => [kind, ["UNAVAILABLE"]]));

/** Calls of each kind without pause, two at a time, until the test's end, and what came of them. */
function startLoad(t: TestContext, url: string, service: TestService, token: string) {
  const unknownKey = mintKey("ak").text;
  const caller = { "x-internal-key": service.internalKey };
  const calls: Readonly<Record<Kind, () => Promise<unknown>>> = {
    "good key": () => ask(url, service, service.apiKey),
    "unknown key": () => ask(url, service, unknownKey),
    "good token": () =>
      clientOf(AuthenticationService, url, caller).authenticate({
        headers: [{ name: "Authorization", value: `Bearer ${token}` }],
      }),
    management: () => clientOf(ApiKeyService, url, bearer(token)).listApiKeys({}),
  };
  const history = new Map<Kind, Set<string>>(KINDS.map((kind) => [kind, new Set()]));
  const recent = new Map<Kind, string[]>();
  let isOver = false;
  let epoch = 0;
  const workers = [...KINDS, ...KINDS].map(async (kind) => {
    while (!isOver) {
      const began = epoch;
      const outcome = (await reasonOf(calls[kind]())) ?? "answered";
      history.get(kind)?.add(outcome);
      // What began before is not evidence of what is.
      if (began === epoch) {
        recent.set(kind, [...(recent.get(kind) ?? []), outcome]);
      }
    }
  });
  const stop = async () => {
    isOver = true;
    await Promise.all(workers);
    return history;
  };
  cleanup(t).defer(async () => void (await stop()));
  return {
    /** Forgets what came of the calls so far, and of those in flight. */
    forget() {
      epoch++;
      recent.clear();
    },
    /** Waits until some more calls of each kind have been answered. */
    async goesOn() {
      const counts = () => KINDS.map((kind) => recent.get(kind)?.length ?? 0);
      const atFirst = counts();
      await until("calls of each kind were answered", () =>
        counts().every((count, index) => count >= (atFirst[index] ?? 0) + 3),
      );
    },
    seen: () => Object.fromEntries(KINDS.map((kind) => [kind, [...new Set(recent.get(kind))]])),
    stop,
  };
}

function neverWrong(history: ReadonlyMap<Kind, ReadonlySet<string>>): void {
  for (const [kind, outcomes] of history) {
    const wrong = [...outcomes].filter((outcome) => outcome !== RIGHT[kind] && outcome !== "UNAVAILABLE");
    assert.deepEqual(wrong, [], kind);
  }
}

/** That every line of the log is a JSON object, nothing else was said, and none of it is secret. */
function hasNoSecret(process: Running, secrets: readonly string[]): void {
  for (const line of process.stdout.trimEnd().split("\n").filter(Boolean)) {
    assert.equal(typeof JSON.parse(line), "object", line);
  }
  if (process.isAlive) {
    assert.equal(process.stderr, "");
  }
  const output = process.stdout + process.stderr;
  for (const secret of secrets) {
    assert.ok(secret !== "" && !output.includes(secret), `it tells ${secret}:\n${output}`);
  }
}
