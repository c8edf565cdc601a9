import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { test } from "node:test";
import { createRehashQueue, type Rehash } from "../../src/credentials/imported-key/rehash-queue.ts";

const rehashOf = (apiKeyId: string): Rehash => ({
  apiKeyId,
  lookupId: apiKeyId,
  displayPrefix: "",
  digest: Buffer.alloc(32),
  pepperId: "",
});

/** A queue whose work waits until it is let go. */
function held() {
  const done: string[] = [];
  const faults: unknown[] = [];
  const gates: (() => void)[] = [];
  let fault: Error | undefined;
  const queue = createRehashQueue(
    async ({ apiKeyId }) => {
      await new Promise<void>((resolve) => gates.push(resolve));
      if (fault !== undefined) {
        throw fault;
      }
      done.push(apiKeyId);
    },
    (error) => faults.push(error),
  );
  return {
    queue,
    done,
    faults,
    failWith(error: Error | undefined) {
      fault = error;
    },
    /** Lets all go that waits, and whatever comes after it. */
    async finish() {
      const drained = queue.drain();
      let isDrained = false;
      void drained.then(() => {
        isDrained = true;
      });
      while (!isDrained) {
        gates.shift()?.();
        await Promise.resolve();
      }
    },
  };
}

test("a key that waits is not added twice, and the order is kept", async () => {
  const { queue, done, finish } = held();
  for (const id of ["a", "b", "a", "c", "b", "a"]) {
    queue.add(rehashOf(id));
  }
  await finish();
  assert.deepEqual(done, ["a", "b", "c"]);
  // Once it is done, it may come again.
  queue.add(rehashOf("a"));
  await finish();
  assert.deepEqual(done, ["a", "b", "c", "a"]);
});

test("a failure is told, loses what waits, and stops nothing that comes later", async () => {
  const { queue, done, faults, failWith, finish } = held();
  failWith(new Error("the database is away"));
  for (const id of ["a", "b", "c"]) {
    queue.add(rehashOf(id));
  }
  await finish();
  assert.deepEqual([done, faults.map(String)], [[], ["Error: the database is away"]]);
  // It is no news while it lasts.
  queue.add(rehashOf("a"));
  await finish();
  assert.deepEqual([done, faults.length], [[], 1]);
  failWith(undefined);
  queue.add(rehashOf("b"));
  await finish();
  assert.deepEqual([done, faults.length], [["b"], 1]);
  failWith(new Error("the database is away again"));
  queue.add(rehashOf("c"));
  await finish();
  assert.equal(faults.length, 2);
});

test("what does not fit is left out, and draining an empty queue waits for nothing", async () => {
  const { queue, done, finish } = held();
  await queue.drain();
  for (let id = 0; id < 1_500; id++) {
    queue.add(rehashOf(String(id)));
  }
  await finish();
  assert.equal(done.length, 1_000);
});

test("the work does not belong to the call that brought it", async () => {
  const calls = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  const queue = createRehashQueue(
    async () => {
      seen.push(calls.getStore());
    },
    () => {},
  );
  calls.run("a call", () => queue.add(rehashOf("a")));
  await queue.drain();
  assert.deepEqual(seen, [undefined]);
});
