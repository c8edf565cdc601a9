import assert from "node:assert/strict";
import { test } from "node:test";
import type { Identity } from "../../src/authenticate/decision.ts";
import { identityAt } from "../../src/authenticate/proof.ts";
import { DecisionTrace } from "../../src/authenticate/trace.ts";
import { AuthError } from "../../src/errors.ts";

const identity: Identity = {
  principal: { id: "1", type: "api_key", displayName: "", email: "", role: "" },
  credential: { id: "1", type: "api_key", expireTime: undefined },
  organization: undefined,
  parentKey: undefined,
  owner: { userId: "1" },
  grants: [],
  permissions: new Set(),
  catalogue: { organization: [], platform: [] },
  allowedCidrs: [],
  secretId: undefined,
  secretMakers: [],
  rateLimit: undefined,
};

/** Whether it is good then. */
function isGoodAt(nowMillis: number, ...ends: readonly number[]): boolean {
  const proof = {
    held: undefined,
    ends: ends.map((atMillis) => ({
      reason: "API_KEY_EXPIRED" as const,
      atMillis,
      step: "",
      detail: () => "",
    })),
    identity,
    tags: [],
    readMillis: 0,
    variesByOrganization: false,
  };
  try {
    identityAt(proof, nowMillis, "", new DecisionTrace(false));
    return true;
  } catch (error) {
    assert.ok(error instanceof AuthError);
    return false;
  }
}

test("a proof is good until the first of its ends, to the millisecond", () => {
  assert.equal(isGoodAt(999, 1000, Infinity), true);
  assert.equal(isGoodAt(1000, 1000, Infinity), false);
  assert.equal(isGoodAt(0, 1000, -Infinity), false);
});

test("an end that is no time has come, and at no time that is known everything has ended", () => {
  assert.equal(isGoodAt(0, Number.NaN), false);
  assert.equal(isGoodAt(Number.NaN, 1000), false);
});
