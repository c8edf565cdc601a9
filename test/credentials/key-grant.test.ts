import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isWithin } from "../../src/authenticate/address-range.ts";
import type { Decision } from "../../src/authenticate/decision.ts";
import { checkKeyChange, checkKeyGrant, type KeyGrant } from "../../src/credentials/key-grant.ts";
import { isLimitWithin, type RateLimit } from "../../src/credentials/rate-limit.ts";
import { AuthError } from "../../src/errors.ts";
import { plainRights } from "../permissions/plain-permissions.ts";

const limits: fc.Arbitrary<RateLimit> = fc.record({
  requests: fc.integer({ min: 1, max: 30 }),
  windowSeconds: fc.integer({ min: 1, max: 12 }),
});

/** How many uses the one limit allows in the busiest window of the other, looked for second by second. */
function mostIn(inner: RateLimit, ofLength: number): number {
  let most = 0;
  for (let begin = 0; begin < inner.windowSeconds * ofLength; begin += ofLength) {
    const windows = new Set<number>();
    for (let second = begin; second < begin + ofLength; second++) {
      windows.add(Math.floor(second / inner.windowSeconds));
    }
    most = Math.max(most, windows.size * inner.requests);
  }
  return most;
}

test("a limit is within another exactly where its busiest window of the other's length is", () => {
  fc.assert(
    fc.property(limits, limits, (inner, outer) => {
      assert.equal(isLimitWithin(inner, outer), mostIn(inner, outer.windowSeconds) <= outer.requests);
    }),
    { numRuns: 5_000 },
  );
});

test("every limit is within itself and within none at all, and none is within any", () => {
  fc.assert(
    fc.property(limits, (limit) => {
      assert.equal(isLimitWithin(limit, limit), true);
      assert.equal(isLimitWithin(limit, undefined), true);
      assert.equal(isLimitWithin(undefined, limit), false);
    }),
  );
  assert.equal(isLimitWithin(undefined, undefined), true);
  const greatest = { requests: 1_000_000_000, windowSeconds: 86_399 };
  assert.equal(isLimitWithin(greatest, { ...greatest, windowSeconds: 86_400 }), false);
});

const CATALOGUE = {
  organization: ["auth.users.read", "calls.hold", "calls.read", "calls.write", "logs.read"],
  platform: ["platform.users.read"],
};
const TEXTS = [...CATALOGUE.organization, "*", "calls.*", "*.read"];
const RANGES = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"];
/** One address in each part that the ranges cut the world into. */
const ADDRESSES = ["10.0.0.1", "10.1.0.1", "192.0.2.1", "203.0.113.1", "2001:db8::1", "2001:db9::1"];
const TIMES = [1, 2, 3, 4, 5];

const grants: fc.Arbitrary<KeyGrant> = fc.record({
  permissions: fc.subarray(TEXTS, { minLength: 1 }),
  expireTime: fc.option(
    fc.constantFrom(...TIMES).map((time) => new Date(time)),
    { nil: undefined },
  ),
  allowedCidrs: fc.oneof(fc.constant<string[]>([]), fc.subarray(RANGES)),
  rateLimit: fc.option(limits, { nil: undefined }),
});

const OWNERS = [{ userId: "u" }, { serviceKeyId: "s" }, { userId: "other" }] as const;

/** Somebody who holds what the grant says, and is bound by it if what they present is a key. */
const actors: fc.Arbitrary<Decision> = fc
  .record({ grant: grants, type: fc.constantFrom("user", "api_key", "service") })
  .map(({ grant, type }) => {
    const isUser = type === "user";
    const grantee = isUser ? "role" : type === "api_key" ? "api-key" : "service-key";
    return {
      principal: { id: "1", type, displayName: "", email: "", role: "" },
      credential: { id: "1", type: isUser ? "access_token" : "api_key", expireTime: grant.expireTime },
      organization: undefined,
      owner: type === "service" ? { serviceKeyId: "s" } : { userId: "u" },
      grants: grant.permissions,
      permissions: plainRights(grant.permissions, grantee, CATALOGUE),
      catalogue: CATALOGUE,
      allowedCidrs: isUser ? [] : grant.allowedCidrs,
      rateLimit: isUser ? undefined : grant.rateLimit,
      parentKey: undefined,
      secretId: undefined,
      secretMakers: [],
      stripHeaders: [],
      tags: [],
      endTime: undefined,
    } satisfies Decision;
  });

/** Everything that can be done with a key: what, when and from where. */
function usesOf(grant: KeyGrant, grantee: "api-key" | "service-key"): Set<string> {
  const uses = new Set<string>();
  for (const name of plainRights(grant.permissions, grantee, CATALOGUE)) {
    for (const time of TIMES) {
      for (const address of ADDRESSES) {
        const inTime = grant.expireTime === undefined || time < grant.expireTime.getTime() + 0.5;
        const inPlace = grant.allowedCidrs.length === 0 || isWithin(address, grant.allowedCidrs);
        if (inTime && inPlace) {
          uses.add(`${name} at ${time} from ${address}`);
        }
      }
    }
  }
  return uses;
}

/** What an actor can do, without the limit of how often. */
function usesOfActor(actor: Decision): Set<string> {
  const { permissions, credential, allowedCidrs, principal } = actor;
  const expireTime = principal.type === "user" ? undefined : credential.expireTime;
  return usesOf(
    { permissions: [...permissions], expireTime, allowedCidrs, rateLimit: undefined },
    "service-key",
  );
}

const standings = fc.oneof(
  fc.constantFrom(...OWNERS).map((owner) => ({ grantee: "api-key" as const, owner })),
  fc.constant({ grantee: "service-key" as const }),
);

function isAllowed(check: () => unknown): boolean {
  try {
    check();
    return true;
  } catch (error) {
    assert.ok(error instanceof AuthError && error.reason === "PERMISSION_NOT_HELD", String(error));
    return false;
  }
}

test("whatever a key can be used for that an actor made or took over, they could do themselves", () => {
  let allowed = 0;
  fc.assert(
    fc.property(actors, standings, grants, (actor, standing, grant) => {
      if (isAllowed(() => checkKeyGrant(actor, standing, grant))) {
        allowed++;
        assert.ok(usesOf(grant, standing.grantee).isSubsetOf(usesOfActor(actor)));
        assert.ok(isLimitWithin(grant.rateLimit, actor.rateLimit));
      }
    }),
    { numRuns: 5_000 },
  );
  assert.ok(allowed > 100, String(allowed));
});

test("whatever a key can be used for after a change, and not before, whoever changed it could do themselves", () => {
  let allowed = 0;
  fc.assert(
    fc.property(actors, standings, grants, grants, (actor, standing, before, after) => {
      if (isAllowed(() => checkKeyChange(actor, standing, before, after))) {
        const added = usesOf(after, standing.grantee).difference(usesOf(before, standing.grantee));
        allowed += added.size > 0 ? 1 : 0;
        assert.ok(added.isSubsetOf(usesOfActor(actor)));
        const isLooser = !isLimitWithin(after.rateLimit, before.rateLimit);
        assert.ok(!(isLooser || added.size > 0) || isLimitWithin(after.rateLimit, actor.rateLimit));
      }
    }),
    { numRuns: 10_000 },
  );
  assert.ok(allowed > 100, String(allowed));
});

test("what only narrows a key is allowed to whoever may change keys", () => {
  const earlier = (one: Date | undefined, other: Date | undefined) =>
    one === undefined || (other !== undefined && other < one) ? other : one;
  fc.assert(
    fc.property(actors, standings, grants, grants, fc.nat(), (actor, standing, before, more, keep) => {
      const after = {
        permissions: before.permissions.filter((_, at) => at === 0 || (keep >> at) % 2 === 1),
        expireTime: earlier(before.expireTime, more.expireTime),
        allowedCidrs: before.allowedCidrs.length === 0 ? more.allowedCidrs : before.allowedCidrs.slice(0, 1),
        rateLimit: before.rateLimit ?? more.rateLimit,
      };
      assert.deepEqual(checkKeyChange(actor, standing, before, after), after.permissions.toSorted());
    }),
    { numRuns: 2_000 },
  );
});

test("a pattern of somebody else's key is handed out by nobody whose own patterns do not reach as far", () => {
  fc.assert(
    fc.property(actors, fc.constantFrom("*", "calls.*", "*.read"), (actor, pattern) => {
      const grant = { permissions: [pattern], expireTime: new Date(1), allowedCidrs: ["10.1.0.0/16"] };
      const standing = { grantee: "api-key", owner: { userId: "other" } } as const;
      const reaches = actor.grants.includes(pattern) || actor.grants.includes("*");
      const limited = { ...grant, rateLimit: actor.rateLimit };
      assert.ok(reaches || !isAllowed(() => checkKeyGrant(actor, standing, limited)));
    }),
    { numRuns: 1_000 },
  );
});
