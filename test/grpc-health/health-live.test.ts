import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, connect } from "node:http2";
import { getDefaultHighWaterMark } from "node:stream";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import {
  Health,
  HealthCheckResponse_ServingStatus as Status,
} from "../../src/grpc-health/gen/grpc/health/v1/health_pb.ts";
import { HealthStatus, healthRoutes } from "../../src/grpc-health/index.ts";
import { serveHttp1, serveHttp2 } from "./live-server.ts";
import { openWatches } from "./open-watches.ts";

async function setUp(t: TestContext, shutdownSignal = new AbortController().signal) {
  const health = new HealthStatus();
  const server = await serveHttp2(t, { routes: healthRoutes(health), shutdownSignal });
  const sessions = new Http2SessionManager(server.url);
  t.after(() => sessions.abort());
  const client = createClient(Health, createGrpcTransport({ baseUrl: server.url, sessionManager: sessions }));
  return { health, server, sessions, client };
}

const hasCode = (code: Code) => (error: unknown) => ConnectError.from(error).code === code;

for (const [protocol, createTransport] of [
  ["gRPC", (baseUrl: string) => createGrpcTransport({ baseUrl })],
  ["gRPC-Web", (baseUrl: string) => createGrpcWebTransport({ httpVersion: "2", baseUrl })],
  ["Connect", (baseUrl: string) => createConnectTransport({ httpVersion: "2", baseUrl })],
] as const) {
  test(`health is served over ${protocol}`, async (t) => {
    const health = new HealthStatus();
    health.set("", "SERVING");
    const { url } = await serveHttp2(t, { routes: healthRoutes(health) });
    const client = createClient(Health, createTransport(url));
    assert.equal((await client.check({})).status, Status.SERVING);
    assert.deepEqual(Object.keys((await client.list({})).statuses), [""]);
    const controller = new AbortController();
    const watch = client.watch({}, { signal: controller.signal })[Symbol.asyncIterator]();
    assert.equal((await watch.next()).value?.status, Status.SERVING);
    controller.abort();
    await openWatches(t, health, 0);
  });
}

test("a client that cancels its watch is forgotten", async (t) => {
  const { health, client } = await setUp(t);
  const controller = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of client.watch({}, { signal: controller.signal })) {
      assert.equal(health.openWatches, 1);
      controller.abort();
    }
  }, hasCode(Code.Canceled));
  await openWatches(t, health, 0);
});

test("a client whose connection is lost is forgotten", async (t) => {
  const { health, sessions, client } = await setUp(t);
  await assert.rejects(async () => {
    for await (const _ of client.watch({})) {
      sessions.abort();
    }
  });
  await openWatches(t, health, 0);
});

test("a client of HTTP/1.1 that hangs up is forgotten", async (t) => {
  const health = new HealthStatus();
  const url = await serveHttp1(t, { routes: healthRoutes(health) });
  const client = createClient(Health, createConnectTransport({ httpVersion: "1.1", baseUrl: url }));
  const controller = new AbortController();
  await client.watch({}, { signal: controller.signal })[Symbol.asyncIterator]().next();
  assert.equal(health.openWatches, 1);
  controller.abort();
  await openWatches(t, health, 0);
});

test("a watch with a deadline ends with DEADLINE_EXCEEDED", async (t) => {
  const { health, client } = await setUp(t);
  await assert.rejects(async () => {
    for await (const { status } of client.watch({}, { timeoutMs: 50 })) {
      assert.equal(status, Status.NOT_SERVING);
    }
  }, hasCode(Code.DeadlineExceeded));
  await openWatches(t, health, 0);
});

test("a watch ends with what the server's shutdown signal says", async (t) => {
  const shutdown = new AbortController();
  const { health, client } = await setUp(t, shutdown.signal);
  await assert.rejects(async () => {
    for await (const _ of client.watch({})) {
      shutdown.abort(new ConnectError("restarting", Code.Unavailable));
    }
  }, hasCode(Code.Unavailable));
  assert.equal(health.openWatches, 0);
});

test("a drain that is held by a watch ends with endWatches", async (t) => {
  const { health, server, client } = await setUp(t);
  health.set("", "SERVING");
  const watch = client.watch({})[Symbol.asyncIterator]();
  assert.equal((await watch.next()).value?.status, Status.SERVING);

  health.shutdown();
  assert.equal((await watch.next()).value?.status, Status.NOT_SERVING);
  let drained = false;
  const draining = server.drain().then(() => {
    drained = true;
  });
  const ended = watch.next();
  await setImmediate();
  assert.equal(drained, false);

  health.endWatches();
  assert.equal((await ended).done, true);
  await draining;
});

/** Opens a watch over gRPC as a client that gives the server no room to send a byte of the answer. */
function watchWithoutReading(session: ClientHttp2Session) {
  const stream = session.request({
    ":method": "POST",
    ":path": "/grpc.health.v1.Health/Watch",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.end(Buffer.alloc(5)); // one empty message
  return stream;
}

/** What Node buffers for a stream before it asks the writer to wait, in bytes. */
const streamBuffer = getDefaultHighWaterMark(false);

/** Five bytes of the envelope, then field 1 as a varint. */
const messageSize = 7;

/** Changes the status more often than messages fit into the buffer, each time with a chance to write. */
async function changeMoreThanIsBuffered(health: HealthStatus) {
  for (let i = 0; i < streamBuffer / messageSize + 2000; i++) {
    health.set("", i % 2 === 0 ? "NOT_SERVING" : "SERVING");
    await setImmediate();
  }
}

test("a client that does not read costs a bounded backlog, and is sent the newest status when it reads", async (t) => {
  const { health, server } = await setUp(t);
  const session = connect(server.url, { settings: { initialWindowSize: 0 } });
  t.after(() => session.destroy());
  const stream = watchWithoutReading(session);
  await openWatches(t, health, 1);
  await changeMoreThanIsBuffered(health);
  health.endWatches();

  session.settings({ initialWindowSize: 1 << 20 });
  const chunks: Buffer[] = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
  }
  const sent = Buffer.concat(chunks);
  assert.equal(sent.length % messageSize, 0);
  assert.ok(sent.length < streamBuffer + 10 * messageSize, `${sent.length} bytes were kept`);
  assert.equal(sent.at(-1), Status.NOT_SERVING);
});

test("a client that does not read and hangs up is forgotten", async (t) => {
  t.mock.method(console, "error", () => {}); // connect-node reports the write that fails
  const { health, server } = await setUp(t);
  const session = connect(server.url, { settings: { initialWindowSize: 0 } });
  const stream = watchWithoutReading(session).on("error", () => {});
  await openWatches(t, health, 1);
  await changeMoreThanIsBuffered(health);
  stream.destroy();
  await openWatches(t, health, 0);
  session.close();
  await once(session, "close");
});
