import assert from "node:assert/strict";
import { connect as connectHttp2, constants } from "node:http2";
import { connect, type Socket } from "node:net";
import { after, before, mock, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { startService, type TestService } from "../support/service.ts";
import { exchangeHttp1 } from "./exchange.ts";
import { type CallKind, PROTOCOLS, type Protocol } from "./faults.ts";
import { kindsOf, outcomeOf, requestOf } from "./spoken.ts";

let service: TestService;
const said: unknown[] = [];
before(async () => {
  process.on("warning", (warning) => said.push(warning));
  mock.method(console, "error", (...words: unknown[]) => said.push(words));
  service = await startService();
});
after(async () => {
  await service.stop();
  mock.restoreAll();
});

/** When the client goes, after so many bytes of its body: nothing of it, some of it, all of it. */
const MOMENTS = [0, 3, Number.POSITIVE_INFINITY] as const;
/** How long after that, for what the service does meanwhile. */
const DELAYS_MS = [0, 1, 5];

const calls = PROTOCOLS.flatMap((protocol) => kindsOf(protocol).map((kind) => ({ protocol, kind })));

for (const { protocol, kind } of calls) {
  test(`a client of ${protocol} that hangs up is no news: ${kind}`, async () => {
    for (const moment of MOMENTS) {
      for (const delay of DELAYS_MS) {
        await hangUpHttp2(protocol, kind, moment, delay, "reset");
        await hangUpHttp2(protocol, kind, moment, delay, "destroy");
        await hangUpHttp1(protocol, kind, moment, delay);
      }
    }
    await answers();
    const errors = service.logged.filter((line) => JSON.parse(line).level >= 50);
    assert.deepEqual([...errors, ...said], []);
  });
}

async function hangUpHttp2(
  protocol: Protocol,
  kind: CallKind,
  moment: number,
  delay: number,
  how: "reset" | "destroy",
): Promise<void> {
  const { verb, path, headers, body } = requestOf(protocol, kind, "2", {}, service.apiKey);
  const session = connectHttp2(service.url);
  session.on("error", () => {});
  const stream = session.request({ ":method": verb, ":path": path, ...Object.fromEntries(headers) });
  stream.on("error", () => {}).resume();
  stream.write(body.subarray(0, moment));
  if (moment > body.length) {
    stream.end();
  }
  await wait(delay);
  if (how === "reset" && !stream.destroyed) {
    stream.close(constants.NGHTTP2_CANCEL);
    await new Promise((resolve) => stream.once("close", resolve));
  }
  session.destroy();
}

async function hangUpHttp1(protocol: Protocol, kind: CallKind, moment: number, delay: number): Promise<void> {
  const { path, headers, body } = requestOf(protocol, kind, "1.1", {}, service.apiKey);
  const fields = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const socket: Socket = connect({ port: service.port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {}).resume();
  socket.write(`POST ${path} HTTP/1.1\r\n${fields}content-length: ${Math.max(body.length, 4)}\r\n\r\n`);
  socket.write(body.subarray(0, moment));
  await wait(delay);
  socket.resetAndDestroy();
}

async function answers(): Promise<void> {
  const request = requestOf("Connect unary", "unary", "1.1", {}, service.apiKey);
  assert.equal(outcomeOf("Connect unary", await exchangeHttp1(service.port, request)).code, "ok");
}
