import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import {
  Health,
  HealthCheckResponse_ServingStatus as Status,
} from "../../src/grpc-health/gen/grpc/health/v1/health_pb.ts";
import { type HealthRoutesOptions, HealthStatus, healthRoutes } from "../../src/grpc-health/index.ts";
import { openWatches } from "./open-watches.ts";

function setUp(options?: HealthRoutesOptions) {
  const health = new HealthStatus();
  const client = createClient(Health, createRouterTransport(healthRoutes(health, options)));
  return { health, client };
}

function watch(client: ReturnType<typeof setUp>["client"], service: string, signal?: AbortSignal) {
  const responses = client.watch({ service }, signal ? { signal } : {})[Symbol.asyncIterator]();
  return async () => {
    const { done, value } = await responses.next();
    return done === true ? "ended" : value.status;
  };
}

const hasCode = (code: Code) => (error: unknown) => ConnectError.from(error).code === code;

test("Check answers with the status of the named service", async () => {
  const { health, client } = setUp();
  health.set("acme.Pets", "SERVING");
  assert.equal((await client.check({ service: "acme.Pets" })).status, Status.SERVING);
  assert.equal((await client.check({})).status, Status.NOT_SERVING);
});

test("Check answers NOT_FOUND for an unknown service", async () => {
  const { client } = setUp();
  await assert.rejects(client.check({ service: "acme.Unheard" }), hasCode(Code.NotFound));
});

test("List answers with every service and its status", async () => {
  const { health, client } = setUp();
  health.set("", "SERVING");
  health.set("acme.Pets", "UNKNOWN");
  const { statuses } = await client.list({});
  assert.deepEqual(
    Object.entries(statuses)
      .map(([name, { status }]) => [name, status])
      .sort(),
    [
      ["", Status.SERVING],
      ["acme.Pets", Status.UNKNOWN],
    ],
  );
});

test("List answers with 100 services and RESOURCE_EXHAUSTED beyond", async () => {
  const { health, client } = setUp();
  for (let i = 1; i < 100; i++) {
    health.set(`acme.Service${i}`, "SERVING");
  }
  assert.equal(Object.keys((await client.list({})).statuses).length, 100);
  health.set("acme.OneMore", "SERVING");
  await assert.rejects(client.list({}), hasCode(Code.ResourceExhausted));
});

test("Watch sends the status at once and then each change", async () => {
  const { health, client } = setUp();
  const next = watch(client, "");
  assert.equal(await next(), Status.NOT_SERVING);
  health.set("", "SERVING");
  assert.equal(await next(), Status.SERVING);
  health.set("", "NOT_SERVING");
  assert.equal(await next(), Status.NOT_SERVING);
});

test("Watch sends SERVICE_UNKNOWN for an unknown service and stays open for its status", async () => {
  const { health, client } = setUp();
  const next = watch(client, "acme.Pets");
  assert.equal(await next(), Status.SERVICE_UNKNOWN);
  health.set("acme.Pets", "SERVING");
  assert.equal(await next(), Status.SERVING);
});

test("Watch sends NOT_SERVING in a drain, and the stream ends without an error", async () => {
  const { health, client } = setUp();
  health.set("", "SERVING");
  const next = watch(client, "");
  assert.equal(await next(), Status.SERVING);
  health.shutdown();
  assert.equal(await next(), Status.NOT_SERVING);
  health.endWatches();
  assert.equal(await next(), "ended");
  assert.equal(health.openWatches, 0);
});

test("Watch answers UNAVAILABLE once watches have ended, so that clients wait before they try again", async () => {
  const { health, client } = setUp();
  health.endWatches();
  await assert.rejects(watch(client, "")(), hasCode(Code.Unavailable));
  assert.equal((await client.check({})).status, Status.NOT_SERVING);
});

test("Watch answers RESOURCE_EXHAUSTED at the limit and has room again when a client leaves", async (t) => {
  const { health, client } = setUp({ maxWatches: 1 });
  const controller = new AbortController();
  await watch(client, "", controller.signal)();
  await assert.rejects(watch(client, "")(), hasCode(Code.ResourceExhausted));
  controller.abort();
  await openWatches(t, health, 0);
  assert.equal(await watch(client, "")(), Status.NOT_SERVING);
});

test("Watch does not hold on to long names, but knows a long one that was set", async () => {
  const { health, client } = setUp();
  const long = "a".repeat(1025);
  await assert.rejects(watch(client, long)(), hasCode(Code.InvalidArgument));
  assert.equal(await watch(client, long.slice(1))(), Status.SERVICE_UNKNOWN);
  health.set(long, "SERVING");
  assert.equal(await watch(client, long)(), Status.SERVING);
});

test("a client that cancels its watch is forgotten", async (t) => {
  const { health, client } = setUp();
  const controller = new AbortController();
  const next = watch(client, "", controller.signal);
  await next();
  assert.equal(health.openWatches, 1);
  controller.abort();
  await assert.rejects(next(), hasCode(Code.Canceled));
  await openWatches(t, health, 0);
});
