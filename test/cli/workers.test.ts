import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { before, describe, it, type TestContext } from "node:test";
import type { TLSSocket } from "node:tls";
import { createClient } from "@connectrpc/connect";
import { createAuthority, temporary } from "../server/certificates.ts";
import { query, urlOf } from "../support/cluster.ts";
import {
  cleanup,
  clientOf,
  fetchPage,
  freePort,
  latchkey,
  type Running,
  refusal,
} from "../support/process.ts";
import {
  ApiKeyService,
  AuthenticationService,
  startService,
  type TestService,
  transportTo,
} from "../support/service.ts";
import { until } from "../support/until.ts";
import { lockTable } from "./lock-table.ts";

const PUBLIC_URL = "https://auth.example.test";

describe("latchkey serve --workers 2", { concurrency: 2 }, () => {
  /** Whose database the services of these tests work on. */
  let service: TestService;
  before(async () => {
    service = await seeded();
  });

  it("answers by both on one port, and puts another in the place of one that is killed", async (t) => {
    const { url, process, isUp } = await serve(t, service);
    await isUp();
    await connectToBoth(url, process, service);
    const [one, other] = pidsOf(process);
    assert.notEqual(one, other);

    // Each over a connection of its own, one after the other, from before the end of one until after.
    let answered = 0;
    let isOver = false;
    const failures: unknown[] = [];
    const load = (async () => {
      while (!isOver) {
        await ask(url, service).then(
          () => answered++,
          (error) => failures.push(error),
        );
      }
    })();
    await until("calls are answered", () => answered > 3);
    kill(other, "SIGKILL");
    await until("another listens", () => pidsOf(process).length === 3);
    const atThen = answered;
    await until("calls go on", () => answered > atThen + 5);
    isOver = true;
    await load;
    // What it was answering goes with it.
    assert.ok(failures.length <= 1, String(failures));
    const [line] = linesOf(process, "a worker has ended");
    assert.deepEqual(
      {
        level: line?.["level"],
        worker: line?.worker,
        pid: line?.["workerPid"] === other,
        signal: line?.["signal"],
      },
      { level: 50, worker: 2, pid: true, signal: "SIGKILL" },
    );
    assert.equal(linesOf(process, "listening").at(-1)?.worker, 2);
    assert.ok(isAlive(one));
  });

  it("shares the connections of one between the workers, and its own process has none", async (t) => {
    const own = await seeded();
    const { url, process, isUp } = await serve(t, own);
    await isUp();
    const lists = await connectToBoth(url, process, own);
    const lock = await lockTable(t, own.connection, "api_key_slots");
    let refused = 0;
    const calls = lists.flatMap((list) => Array.from({ length: 8 }, () => list().catch(() => refused++)));
    // Whoever gets no connection is told so after a while.
    await until("the others have got one", () => refused === 16 - 10);
    const connections = await query<{ purpose: string; count: number }>(
      own.connection,
      `select application_name as purpose, count(*)::int as count from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid() group by 1`,
    );
    const managing = connections.find(({ purpose }) => purpose === "latchkey manage");
    assert.equal(managing?.count, 10);
    await lock.release();
    await Promise.all(calls);
    assert.equal(refused, 16 - 10);
    assert.ok(process.isAlive);
  });

  it("on SIGTERM answers what is in flight on each worker and what comes until the port is closed, and ends with 0", async (t) => {
    const own = await seeded();
    const { url, process, isUp } = await serve(t, own, { env: { LATCHKEY_NOTICE_SECONDS: "1" } });
    await isUp();
    const pids = pidsOf(process);
    const lists = await connectToBoth(url, process, own);
    const lock = await lockTable(t, own.connection, "api_key_slots");
    const answers = Promise.allSettled([...lists, ...lists].map((list) => list()));
    await lock.blocks(4);
    process.kill("SIGTERM");
    // As a balancer would: no new call once one of them says that it is not ready.
    for (;;) {
      const { status } = await fetchPage(`${url}/readyz`);
      assert.ok(status === 200 || status === 503, `${status}`);
      if (status === 503) {
        break;
      }
    }
    assert.equal((await fetchPage(`${url}/livez`)).status, 200);
    assert.equal((await fetchPage(`${url}/livez`)).status, 200);
    await until("the port is closed", async () => (await fetchPage(`${url}/livez`)).status === 0);
    assert.ok(process.isAlive);
    await lock.release();
    assert.deepEqual(
      (await answers).map((answer) => (answer.status === "fulfilled" ? answer.value : answer.reason)),
      [1, 1, 1, 1],
      JSON.stringify(linesOf(process, "")),
    );
    assert.deepEqual(callsOf(process).slice(-4).sort(), [1, 1, 2, 2]);
    assert.deepEqual(await process.ended(), { code: 0, signal: null });
    assert.ok(!pids.some(isAlive));
    assert.equal(linesOf(process, "stopped").length, 2);
  });

  it("leaves no worker behind and the port free when its own process is killed", async (t) => {
    const { url, process, isUp } = await serve(t, service);
    await isUp();
    const pids = pidsOf(process);
    process.kill("SIGKILL");
    await process.ended();
    await until("its workers have ended", () => !pids.some(isAlive));
    assert.equal(linesOf(process, "stopped").length, 2, "they drain before");
    assert.equal((await fetchPage(`${url}/livez`)).status, 0);
  });

  it("ends, and says so, when its workers end again and again and none is left", async (t) => {
    const { process, isUp } = await serve(t, service);
    await isUp();
    const ofWorker = (lines: Line[], worker: number) => lines.filter((line) => line.worker === worker);
    const ends = (worker: number) => ofWorker(linesOf(process, "a worker has ended"), worker).length;
    const nextListens = async (worker: number) => {
      const isNext = () => ofWorker(linesOf(process, "listening"), worker).length > ends(worker);
      await until("the worker listens", isNext);
    };
    const killOne = async (worker: number) => {
      const before = ends(worker);
      kill(ofWorker(linesOf(process, "listening"), worker).at(-1)?.pid, "SIGKILL");
      await until("its end is told", () => ends(worker) > before);
    };
    for (let end = 1; end < 5; end++) {
      await killOne(1);
      await nextListens(1);
    }
    // One that has just begun to start is none that answers.
    await killOne(2);
    await killOne(1);
    assert.match(await refusal(process), /^the workers end again and again/);
  });

  it("gives changed files of TLS to the new connections of every worker on SIGHUP", async (t) => {
    const authority = createAuthority();
    const [first, second] = [authority.issue(), authority.issue()];
    const [certificate, key] = [temporary("tls.crt", first.cert), temporary("tls.key", first.key)];
    const { port, process, isUp } = await serve(t, service, {
      env: { LATCHKEY_TLS_CERT_FILE: certificate, LATCHKEY_TLS_KEY_FILE: key },
    });
    await isUp();
    assert.deepEqual(await served(port, 2), [first.fingerprint, first.fingerprint]);
    writeFileSync(certificate, second.cert);
    writeFileSync(key, second.key);
    process.kill("SIGHUP");
    await until("each worker has them", () => {
      const renewed = linesOf(process, "new connections get");
      return new Set(renewed.map(({ worker }) => worker)).size === 2;
    });
    assert.deepEqual(await served(port, 2), [second.fingerprint, second.fingerprint]);
    assert.ok(process.isAlive);
  });
});

describe("latchkey serve --workers does not start, and says why once,", { concurrency: 3 }, () => {
  it("where the port is taken", async (t) => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    cleanup(t).defer(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const service = await seeded();
    const line = await refusal((await serve(t, service, { port })).process);
    assert.match(line, new RegExp(`^127\\.0\\.0\\.1:${port} is in use: .*LATCHKEY_PORT`));
  });

  it("under another encryption key than the database's, which only a worker finds out", async (t) => {
    const service = { ...(await seeded()), encryptionKey: randomBytes(32) };
    assert.match(await refusal((await serve(t, service)).process), /^LATCHKEY_ENCRYPTION_KEY is not the key/);
  });

  it("with a setting that is wrong", async (t) => {
    const env = { LATCHKEY_WORKERS: "many" };
    const service = await seeded();
    const line = await refusal((await serve(t, service, { env })).process);
    assert.match(line, /^LATCHKEY_WORKERS .*write 1 to 256, or auto/);
    for (const wrong of ["0", "many"]) {
      const { process } = await serve(t, service, { workers: wrong });
      assert.deepEqual(await process.ended(), { code: 2, signal: null });
      assert.match(process.stderr, /^latchkey: .*--workers.*1 to 256, or auto.*\n$/);
    }
  });
});

async function seeded(): Promise<TestService> {
  const service = await startService({ publicUrl: PUBLIC_URL, audience: PUBLIC_URL });
  await service.stop();
  return service;
}

interface Line extends Readonly<Record<string, unknown>> {
  readonly msg: string;
  readonly pid: number;
  readonly worker?: number;
}

/** What it has logged whose message begins so. */
function linesOf(process: Running, beginning: string): Line[] {
  const whole = process.stdout.slice(0, process.stdout.lastIndexOf("\n") + 1);
  const lines: Line[] = whole
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  return lines.filter(({ msg }) => msg.startsWith(beginning));
}

/** Which worker has answered each listing. */
function callsOf(process: Running): (number | undefined)[] {
  return linesOf(process, "call")
    .filter(({ method }) => String(method).endsWith("/ListApiKeys"))
    .map(({ worker }) => worker);
}

/** Of the workers, in the order in which they came. */
function pidsOf(process: Running): number[] {
  return linesOf(process, "listening").map(({ pid }) => pid);
}

function isAlive(pid: number | undefined): boolean {
  return kill(pid, 0);
}

/** @returns whether there is such a process. */
function kill(pid: number | undefined, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid ?? assert.fail("there is no such worker"), signal);
  } catch {
    return false;
  }
}

interface ServeOptions {
  readonly workers?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly port?: number;
}

async function serve(
  t: TestContext,
  { connection, encryptionKey }: TestService,
  { workers = "2", env = {}, port }: ServeOptions = {},
) {
  const chosen = port ?? (await freePort());
  const process = latchkey(
    cleanup(t),
    ["serve", ...("LATCHKEY_WORKERS" in env ? [] : ["--workers", workers])],
    {
      env: {
        DATABASE_URL: urlOf(connection),
        LATCHKEY_ENCRYPTION_KEY: encryptionKey.toString("base64"),
        LATCHKEY_PUBLIC_URL: PUBLIC_URL,
        LATCHKEY_HOST: "127.0.0.1",
        LATCHKEY_PORT: String(chosen),
        LATCHKEY_NOTICE_SECONDS: "0",
        ...env,
      },
    },
  );
  return {
    process,
    port: chosen,
    url: `http://127.0.0.1:${chosen}`,
    /** Waits until both workers listen. */
    isUp: async () => void (await process.said(/"msg":"listening".*\n(.*\n)*.*"msg":"listening"/)),
  };
}

/** Over a connection of its own, and for no longer than a client would wait. */
async function ask(url: string, { internalKey, apiKey }: TestService) {
  const client = clientOf(AuthenticationService, url, { "x-internal-key": internalKey });
  const headers = [{ name: "X-API-Key", value: apiKey }];
  return await client.authenticate({ headers }, { timeoutMs: 10_000 });
}

/**
 * Connects until there is a connection to each worker.
 *
 * @returns for each what lists the API keys, which waits for whoever has locked the table of their secrets.
 */
async function connectToBoth(
  url: string,
  process: Running,
  { internalKey, organizationId }: TestService,
): Promise<(() => Promise<number>)[]> {
  const lists = new Map<number, () => Promise<number>>();
  await until("there is a connection to each worker", async () => {
    const client = createClient(
      ApiKeyService,
      transportTo(url, "grpc", "2", { "x-internal-key": internalKey }),
    );
    const list = async () => (await client.listApiKeys({ organizationId })).apiKeys.length;
    const before = callsOf(process).length;
    await list();
    await until("the call is logged", () => callsOf(process).length > before);
    lists.set(callsOf(process).at(-1) ?? 0, list);
    return lists.size === 2;
  });
  return [...lists.values()];
}

/** The certificates that so many new connections get. */
async function served(port: number, count: number): Promise<string[]> {
  const certificates: string[] = [];
  while (certificates.length < count) {
    const request = httpsRequest({ port, path: "/livez", agent: false, rejectUnauthorized: false }).end();
    const [response] = await once(request, "response");
    certificates.push((response.socket as TLSSocket).getPeerCertificate().fingerprint256);
    response.destroy();
  }
  return certificates;
}
