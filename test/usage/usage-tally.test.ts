import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { HeldSecret } from "../../src/authenticate/trace.ts";
import { type Tally, UsageTally } from "../../src/usage/usage-tally.ts";

const DAY = 86_400_000;

const secretOf = (name: string): HeldSecret => ({
  type: "api_key",
  keyId: `key of ${name}`,
  lookupId: name,
  displayPrefix: `ak_${name}`,
});

/** A use, or a flush that works or fails, perhaps with uses before it ends. */
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      secret: fc.constantFrom("a", "b", "c"),
      isAllowed: fc.boolean(),
      clientAddress: fc.constantFrom("", "192.0.2.1", "2001:db8::1"),
      // Not in order: clocks are set back.
      now: fc.integer({ min: 0, max: 3 * DAY }),
    }),
  },
  { weight: 1, arbitrary: fc.constantFrom("take" as const, "written" as const, "failed" as const) },
);

test("whatever is taken, written and put back, every use is counted once, on its day and by its secret", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const tally = new UsageTally(100);
      const written: Tally[] = [];
      let taken: Tally[] = [];
      const expected = new Map<string, { allowed: number; refused: number }>();
      for (const each of [...steps, "failed" as const, "take" as const, "written" as const]) {
        if (each === "take") {
          if (taken.length === 0) taken = tally.take();
        } else if (each === "written") {
          written.push(...taken);
          taken = [];
        } else if (each === "failed") {
          tally.putBack(taken);
          taken = [];
        } else {
          assert.ok(tally.add(secretOf(each.secret), each, each.now));
          const name = `${new Date(each.now).toISOString().slice(0, 10)} ${each.secret}`;
          const counts = expected.get(name) ?? { allowed: 0, refused: 0 };
          counts[each.isAllowed ? "allowed" : "refused"]++;
          expected.set(name, counts);
        }
      }
      const sums = new Map<string, { allowed: number; refused: number }>();
      for (const { date, lookupId, keyId, displayPrefix, allowed, refused } of written) {
        assert.deepEqual([keyId, displayPrefix], [`key of ${lookupId}`, `ak_${lookupId}`]);
        const name = `${date} ${lookupId}`;
        const sum = sums.get(name) ?? { allowed: 0, refused: 0 };
        sums.set(name, { allowed: sum.allowed + allowed, refused: sum.refused + refused });
      }
      assert.deepEqual(new Map([...sums].sort()), new Map([...expected].sort()));
    }),
  );
});

test("the last use is the latest one, with its address, in whichever order uses come and are put back", () => {
  const use = fc.record({ now: fc.integer({ min: 0, max: 1000 }), isPutBack: fc.boolean() });
  fc.assert(
    fc.property(fc.array(use, { minLength: 1, maxLength: 20 }), (uses) => {
      const tally = new UsageTally(100);
      for (const { now, isPutBack } of uses) {
        const taken = isPutBack ? tally.take() : [];
        tally.add(secretOf("a"), { isAllowed: true, clientAddress: `address at ${now}` }, now);
        tally.putBack(taken);
      }
      const latest = Math.max(...uses.map(({ now }) => now));
      const [only] = tally.take();
      assert.equal(only?.lastUseMillis, latest);
      assert.equal(only?.lastUseAddress, `address at ${latest}`);
    }),
  );
});

test("there is room for so many secrets; those that are counted already go on being counted", () => {
  const tally = new UsageTally(2);
  const use = { isAllowed: true, clientAddress: "" };
  assert.deepEqual(
    ["a", "b", "c", "a"].map((name) => tally.add(secretOf(name), use, 0)),
    [true, true, false, true],
  );
  assert.deepEqual(
    tally.take().map(({ lookupId, allowed }) => [lookupId, allowed]),
    [
      ["a", 2],
      ["b", 1],
    ],
  );
  assert.ok(tally.add(secretOf("c"), use, 0));
});
