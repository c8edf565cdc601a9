import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { untilAborted } from "../../src/grpc-reflection/until-aborted.ts";

async function* count(to: number) {
  for (let i = 1; i <= to; i++) {
    yield i;
  }
}

async function* silence() {
  await new Promise(() => {});
  yield 0;
}

test("passes every item on and leaves no listener on the signal", async () => {
  const { signal } = new AbortController();
  assert.deepEqual(await Array.fromAsync(untilAborted(count(3), signal)), [1, 2, 3]);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("ends while it waits for an item, with the reason of the signal", async () => {
  const controller = new AbortController();
  const next = untilAborted(silence(), controller.signal).next();
  const reason = new ConnectError("restarting", Code.Unavailable);
  controller.abort(reason);
  await assert.rejects(next, reason);
});

test("is canceled where the signal gives no better reason", async () => {
  const isCanceled = (error: unknown) => error instanceof ConnectError && error.code === Code.Canceled;
  await assert.rejects(untilAborted(count(1), AbortSignal.abort()).next(), isCanceled);
  await assert.rejects(untilAborted(count(1), AbortSignal.abort("gone")).next(), isCanceled);
});

test("an error of the items is passed on as it is", async () => {
  const broken = (async function* () {
    yield 1;
    throw new RangeError("broken");
  })();
  const { signal } = new AbortController();
  await assert.rejects(Array.fromAsync(untilAborted(broken, signal)), RangeError);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});
