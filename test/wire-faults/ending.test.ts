// A service that ends while a request is still on its way.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { createContextValues } from "@connectrpc/connect";
import { HealthStatus, healthRoutes } from "../../src/grpc-health/index.ts";
import { listenOnePort } from "../../src/server/one-port.ts";
import { wireAdapter } from "../../src/server/wire-adapter.ts";

/** Sends half of a call in JSON, ends the service, sends the other half. @returns the answer. */
async function callAcrossTheEnd(t: TestContext, before: string, after: string): Promise<string> {
  const health = new HealthStatus();
  health.set("", "SERVING");
  const shutdown = new AbortController();
  const begun = Promise.withResolvers<void>();
  const port = await listenOnePort({
    host: "127.0.0.1",
    port: 0,
    handler: wireAdapter({
      routes: healthRoutes(health),
      fallback: (_request, response) => response.end(),
      shutdownSignal: shutdown.signal,
      contextValues() {
        begun.resolve();
        return createContextValues();
      },
    }),
  });
  t.after(() => port.close(0));
  const socket = connect({ port: port.port, host: "127.0.0.1", noDelay: true });
  t.after(() => socket.destroy());
  const length = before.length + after.length;
  const head = `host: a.test\r\ncontent-type: application/json\r\ncontent-length: ${length}`;
  socket.write(`POST /grpc.health.v1.Health/Check HTTP/1.1\r\n${head}\r\n\r\n${before}`);
  await begun.promise;
  await turn();
  shutdown.abort();
  socket.write(after);
  return await new Promise((resolve) => socket.once("data", (answer) => resolve(answer.toString())));
}

test("a call whose message comes while the service ends is answered", async (t) => {
  assert.match(await callAcrossTheEnd(t, '{"service"', ': ""}'), /^HTTP\/1\.1 200 [\s\S]*SERVING/);
});

test("a malformed call that comes while the service ends is told of the end, not of a fault of ours", async (t) => {
  const answer = await callAcrossTheEnd(t, '{"service"', ": ");
  assert.match(answer, /^HTTP\/1\.1 503 [\s\S]*"code":"unavailable"/);
});
