import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { availableParallelism } from "node:os";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { AuthError } from "../../src/errors.ts";

// In place of argon2 stands a gate that counts who waits at it, so that nothing here depends on a clock.

let isOpen = true;
let begun = 0;
const waiting: (() => void)[] = [];
const surroundings = globalThis as { passGate?: () => Promise<void> };
surroundings.passGate = passGate;

function passGate(): Promise<void> {
  begun++;
  return isOpen ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve));
}

const GATED = `data:text/javascript,${encodeURIComponent(`
  export const hash = async () => { await globalThis.passGate(); return "hash"; };
  export const verify = async () => { await globalThis.passGate(); return true; };
`)}`;
const hooks = registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "@node-rs/argon2" ? { url: GATED, shortCircuit: true } : next(specifier, context),
});
const { createPasswordHasher } = await import("../../src/users/password.ts");
hooks.deregister();

/** Lets everything happen that does not wait at the gate. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) {
    await setImmediate();
  }
}

async function openGate(): Promise<void> {
  isOpen = true;
  for (const pass of waiting.splice(0)) {
    pass();
  }
  await settle();
}

const MOST_IN_FLIGHT = Math.min(2, Math.max(1, availableParallelism() - 1));
const MOST_WAITING = 64;

test("a flood of passwords is bounded: few are hashed at once, some wait, and the rest is told to come back", async () => {
  const hasher = await createPasswordHasher();
  isOpen = false;
  begun = 0;
  let [served, refused] = [0, 0];
  const ask = async (turn: number) => {
    const call =
      turn % 2 === 0 ? hasher.hash("p") : hasher.verify("p", turn % 3 === 0 ? undefined : "stored");
    await call.then(
      () => served++,
      (error: unknown) => {
        assert.ok(error instanceof AuthError && error.reason === "PASSWORD_HASHING_BUSY", String(error));
        refused++;
      },
    );
  };
  const calls = Array.from({ length: 1_000 }, (_, turn) => ask(turn));
  await settle();
  assert.equal(waiting.length, MOST_IN_FLIGHT, "one core stays free");
  assert.equal(begun, MOST_IN_FLIGHT, "whoever is told to come back cost no work");
  assert.equal(refused, 1_000 - MOST_IN_FLIGHT - MOST_WAITING);
  assert.equal(served, 0);

  // Whoever waited is served, as many at once as before.
  while (waiting.length > 0) {
    assert.ok(waiting.length <= MOST_IN_FLIGHT);
    waiting.shift()?.();
    await settle();
  }
  await Promise.all(calls);
  assert.deepEqual({ served, begun }, { served: MOST_IN_FLIGHT + MOST_WAITING, begun: served });
  await openGate();
});

test("one core stays free of hashing over all workers, but each of them hashes one", async () => {
  const table = [
    { cores: 1, workers: 1, most: 1 },
    { cores: 2, workers: 1, most: 1 },
    { cores: 16, workers: 1, most: 2 },
    { cores: 4, workers: 2, most: 1 },
    { cores: 8, workers: 2, most: 2 },
    { cores: 8, workers: 4, most: 1 },
    { cores: 4, workers: 4, most: 1 },
    { cores: 2, workers: 8, most: 1 },
  ];
  for (const { most, ...options } of table) {
    const hasher = await createPasswordHasher(options);
    isOpen = false;
    const hashes = Array.from({ length: 5 }, () => hasher.hash("p"));
    await settle();
    assert.equal(waiting.length, most, JSON.stringify(options));
    await openGate();
    await Promise.all(hashes);
  }
});

test("after a flood the next password is hashed", async () => {
  const hasher = await createPasswordHasher();
  isOpen = false;
  const flood = Array.from({ length: 200 }, () => hasher.hash("p").catch(() => "busy"));
  await settle();
  await openGate();
  assert.ok((await Promise.all(flood)).includes("busy"));
  assert.equal(await hasher.hash("p"), "hash");
  assert.equal(await hasher.verify("p", "stored"), true);
});

test("a hash that fails gives up its place", async () => {
  const hasher = await createPasswordHasher();
  surroundings.passGate = () => Promise.reject(new Error("out of memory"));
  await Promise.all(Array.from({ length: 50 }, () => assert.rejects(hasher.hash("p"), /out of memory/)));
  surroundings.passGate = passGate;
  assert.equal(await hasher.hash("p"), "hash");
});
