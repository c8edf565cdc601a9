import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loginSourceOf } from "../../src/users/login-source.ts";

const ADDRESSES = {
  "203.0.113.7": "203.0.113.7",
  "::ffff:203.0.113.7": "203.0.113.7",
  "::ffff:cb00:7107": "203.0.113.7",
  "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
  "2001:DB8:1:2::": "2001:db8:1:2::/64",
  "2001:db8::1": "2001:db8:0:0::/64",
  "fe80::1%eth0": "fe80:0:0:0::/64",
  "::1": "0:0:0:0::/64",
  "::": "0:0:0:0::/64",
  "": "",
};

for (const [address, source] of Object.entries(ADDRESSES)) {
  test(`${address || "an unknown address"} is counted as ${source || "everybody's"}`, () => {
    assert.equal(loginSourceOf(address), source);
  });
}

test("addresses of one /64 are one source, and of two are two", () => {
  const group = fc.integer({ min: 0, max: 0xffff });
  const half = fc.tuple(group, group, group, group);
  const text = (...halves: readonly (readonly number[])[]) =>
    halves
      .flat()
      .map((each) => each.toString(16))
      .join(":");
  fc.assert(
    fc.property(half, half, half, half, (network, other, one, two) => {
      // The one network that IPv4 addresses are written in.
      fc.pre(network.some((each) => each !== 0) && other.some((each) => each !== 0));
      assert.equal(loginSourceOf(text(network, one)), loginSourceOf(text(network, two)));
      const areSame = text(network) === text(other);
      assert.equal(loginSourceOf(text(network, one)) === loginSourceOf(text(other, two)), areSame);
    }),
    { numRuns: 1_000 },
  );
});
