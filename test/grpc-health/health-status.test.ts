import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { HealthStatus } from "../../src/grpc-health/index.ts";

const never = new AbortController().signal;

test("the server is NOT_SERVING until it is told otherwise", () => {
  const health = new HealthStatus();
  assert.equal(health.get(""), "NOT_SERVING");
  health.set("", "SERVING");
  assert.equal(health.get(""), "SERVING");
});

test("a name that was never set has no status", () => {
  assert.equal(new HealthStatus().get("acme.Unheard"), undefined);
});

test("what all() answers with is a copy", () => {
  const health = new HealthStatus();
  health.all().set("acme.Pets", "SERVING");
  assert.equal(health.get("acme.Pets"), undefined);
});

test("shutdown makes every service NOT_SERVING for good", () => {
  const health = new HealthStatus();
  health.set("", "SERVING");
  health.set("acme.Pets", "SERVING");
  health.shutdown();
  health.set("acme.Pets", "SERVING");
  health.set("acme.Late", "SERVING");
  assert.deepEqual([...health.all()].sort(), [
    ["", "NOT_SERVING"],
    ["acme.Pets", "NOT_SERVING"],
  ]);
});

test("a watch begins with the present status and goes on with each change", async () => {
  const health = new HealthStatus();
  const watch = health.watch("acme.Pets", never);
  assert.deepEqual(await watch.next(), { done: false, value: "SERVICE_UNKNOWN" });
  for (const status of ["NOT_SERVING", "SERVING", "UNKNOWN"] as const) {
    const next = watch.next();
    health.set("acme.Pets", status);
    assert.deepEqual(await next, { done: false, value: status });
  }
  await watch.return();
});

test("a watch is not told the status that it has, nor that of another service", async () => {
  const health = new HealthStatus();
  health.set("acme.Pets", "SERVING");
  const watch = health.watch("acme.Pets", never);
  await watch.next();
  const next = watch.next();
  health.set("acme.Pets", "SERVING");
  health.set("acme.Toys", "NOT_SERVING");
  health.set("acme.Pets", "NOT_SERVING");
  assert.deepEqual(await next, { done: false, value: "NOT_SERVING" });
  await watch.return();
});

test("a slow reader is told only the newest status", async () => {
  const health = new HealthStatus();
  const watch = health.watch("", never);
  await watch.next();
  for (let i = 0; i < 1000; i++) {
    health.set("", i % 2 === 0 ? "SERVING" : "UNKNOWN");
  }
  assert.deepEqual(await watch.next(), { done: false, value: "UNKNOWN" });

  const next = watch.next();
  health.set("", "SERVING");
  assert.deepEqual(await next, { done: false, value: "SERVING" });
  await watch.return();
});

test("shutdown tells the watches and leaves them open", async () => {
  const health = new HealthStatus();
  health.set("", "SERVING");
  const watch = health.watch("", never);
  await watch.next();
  health.shutdown();
  assert.deepEqual(await watch.next(), { done: false, value: "NOT_SERVING" });
  assert.equal(health.openWatches, 1);
  await watch.return();
});

test("endWatches alone tells NOT_SERVING first and ends every watch then", async () => {
  const health = new HealthStatus();
  health.set("", "SERVING");
  const [waiting, slow] = [health.watch("", never), health.watch("", never)];
  await waiting.next();
  await slow.next();
  const next = waiting.next();
  health.endWatches();
  assert.deepEqual(await next, { done: false, value: "NOT_SERVING" });
  assert.deepEqual(await slow.next(), { done: false, value: "NOT_SERVING" });
  assert.equal((await waiting.next()).done, true);
  assert.equal((await slow.next()).done, true);
  assert.equal(health.openWatches, 0);
});

test("endWatches ends the watch of an unknown service and one that waits with nothing left to tell", async () => {
  const health = new HealthStatus();
  const unknown = health.watch("acme.Unheard", never);
  const known = health.watch("", never);
  await unknown.next();
  await known.next();
  const ends = [unknown.next(), known.next()];
  health.endWatches();
  assert.deepEqual(
    (await Promise.all(ends)).map((end) => end.done),
    [true, true],
  );
});

test("an aborted signal ends a waiting watch without an error", async () => {
  const health = new HealthStatus();
  const controller = new AbortController();
  const watch = health.watch("", controller.signal);
  await watch.next();
  const next = watch.next();
  controller.abort();
  assert.equal((await next).done, true);
  assert.equal(health.openWatches, 0);
});

test("an aborted signal forgets the watch of a reader that never asks again", async () => {
  const health = new HealthStatus();
  const controller = new AbortController();
  const watch = health.watch("", controller.signal);
  await watch.next();
  assert.equal(health.openWatches, 1);
  controller.abort();
  assert.equal(health.openWatches, 0);
  assert.equal((await watch.next()).done, true);
});

test("a watch with a signal that is aborted already tells nothing and is not kept", async () => {
  const health = new HealthStatus();
  const watch = health.watch("", AbortSignal.abort());
  assert.equal((await watch.next()).done, true);
  assert.equal(health.openWatches, 0);
});

test("a watch leaves no listener on a signal that outlives it", async () => {
  const health = new HealthStatus();
  const { signal } = new AbortController();
  for (let i = 0; i < 20; i++) {
    for await (const status of health.watch("", signal)) {
      assert.equal(status, "NOT_SERVING");
      assert.equal(getEventListeners(signal, "abort").length, 1);
      break;
    }
  }
  assert.equal(getEventListeners(signal, "abort").length, 0);
  assert.equal(health.openWatches, 0);
});
