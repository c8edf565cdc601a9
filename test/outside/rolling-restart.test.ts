import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createDatabase, urlOf } from "../support/cluster.ts";
import {
  cleanup,
  fetchPage,
  findProgram,
  freePort,
  latchkey,
  type Running,
  run,
  temporaryFolder,
} from "../support/process.ts";
import { AuthenticationService, transportTo } from "../support/service.ts";
import { until } from "../support/until.ts";

const CALLERS = 2;

/** Two replicas behind HAProxy, which asks each whether it is ready. */
const haproxyConfig = (front: { h1: number; h2: number; status: number }, replicas: readonly number[]) => `
global
  maxconn 500
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout check 5s
  option httpchk GET /readyz
  default-server check inter 200ms fall 1 rise 1
frontend status
  bind 127.0.0.1:${front.status}
  stats enable
  stats uri /
frontend h1
  bind 127.0.0.1:${front.h1}
  default_backend h1
frontend h2
  bind 127.0.0.1:${front.h2} proto h2
  default_backend h2
backend h1
${replicas.map((port) => `  server r${port} 127.0.0.1:${port}`).join("\n")}
backend h2
${replicas.map((port) => `  server r${port} 127.0.0.1:${port} proto h2 check-proto h1`).join("\n")}
`;

describe("replicas that are replaced one by one under load, behind HAProxy", () => {
  test("fail no call, and end with 0", async (t) => {
    const haproxy = findProgram("haproxy");
    if (haproxy === undefined) {
      t.skip("HAProxy is not installed: apt-get install haproxy");
      return;
    }
    const stack = cleanup(t);
    const env = {
      DATABASE_URL: urlOf(await createDatabase("empty")),
      LATCHKEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
      LATCHKEY_PUBLIC_URL: "https://latchkey.test",
      LATCHKEY_HOST: "127.0.0.1",
      LATCHKEY_CALLERS: "any",
      LATCHKEY_NOTICE_SECONDS: "1",
      LATCHKEY_LOG_LEVEL: "warn",
    };
    const isReady = (port: number) =>
      fetchPage(`http://127.0.0.1:${port}/readyz`).then(
        ({ status }) => status === 200,
        () => false,
      );
    const serve = async (port: number): Promise<Running> => {
      const replica = latchkey(stack, ["serve"], { env: { ...env, LATCHKEY_PORT: String(port) } });
      await until(`the replica on ${port} is ready`, () => isReady(port));
      return replica;
    };
    const ports = [await freePort(), await freePort()];
    const replicas = new Map(
      await Promise.all(ports.map(async (port) => [port, await serve(port)] as const)),
    );

    const front = { h1: await freePort(), h2: await freePort(), status: await freePort() };
    const config = join(temporaryFolder(stack), "haproxy.cfg");
    writeFileSync(config, haproxyConfig(front, ports));
    run(stack, [haproxy, "-db", "-f", config]);
    const allUp = async () => {
      const { body } = await fetchPage(`http://127.0.0.1:${front.status}/;csv`).catch(() => ({ body: "" }));
      const rows = body.split("\n").filter((row) => /^h[12],r\d+,/.test(row));
      return rows.length === 2 * ports.length && rows.every((row) => row.split(",")[17] === "UP");
    };
    await until("HAProxy has both replicas", allUp);

    // Refused, that is: each answer must be this very decision.
    const failures: string[] = [];
    let answered = 0;
    let isOver = false;
    const call = async (client: ReturnType<typeof createClient<typeof AuthenticationService>>) => {
      while (!isOver) {
        const error = await client.authenticate({}).then(
          () => new ConnectError("it was allowed"),
          (thrown: unknown) => ConnectError.from(thrown),
        );
        if (error.code === Code.Unauthenticated) {
          answered++;
        } else {
          failures.push(`${Code[error.code]}: ${error.message}`);
        }
      }
    };
    const clients = [
      () => transportTo(`http://127.0.0.1:${front.h1}`, "connect json", "1.1"),
      () => transportTo(`http://127.0.0.1:${front.h2}`, "grpc", "2"),
    ].flatMap((transport) =>
      Array.from({ length: CALLERS }, () => createClient(AuthenticationService, transport())),
    );
    const load = clients.map(call);
    try {
      for (const port of ports) {
        const before = answered;
        replicas.get(port)?.kill("SIGTERM");
        assert.deepEqual(await replicas.get(port)?.ended(25_000), { code: 0, signal: null });
        await serve(port);
        await until("HAProxy has both replicas", allUp);
        await until("calls went on meanwhile", () => answered > before + 50);
      }
    } finally {
      isOver = true;
      await Promise.all(load);
    }
    assert.deepEqual(failures, []);
  });
});
