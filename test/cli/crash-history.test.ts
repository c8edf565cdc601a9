import assert from "node:assert/strict";
import { test } from "node:test";
import { CrashHistory } from "../../src/cli/crash-history.ts";

test("the first end is made up for at once, each further one within a minute later, up to 15 seconds", () => {
  const crashes = new CrashHistory(() => 0);
  const waits = Array.from({ length: 9 }, () => {
    crashes.add();
    return crashes.waitMillis;
  });
  assert.deepEqual(waits, [0, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
});

test("five ends within a minute are a loop, and what is longer ago is forgotten", () => {
  let now = 0;
  const crashes = new CrashHistory(() => now);
  const loops = Array.from({ length: 10 }, () => {
    now += 15_000;
    crashes.add();
    return crashes.isLoop;
  });
  assert.ok(!loops.includes(true), "four a minute are none");
  crashes.add();
  assert.ok(crashes.isLoop);
  now += 60_000;
  crashes.add();
  assert.ok(!crashes.isLoop);
  assert.equal(crashes.waitMillis, 0);
});
