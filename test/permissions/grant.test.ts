import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Decision } from "../../src/authenticate/decision.ts";
import { AuthError } from "../../src/errors.ts";
import { checkBounds, checkGrant } from "../../src/permissions/grant.ts";
import {
  type Catalogue,
  expandPatterns,
  type Grantee,
  isPattern,
} from "../../src/permissions/permission-pattern.ts";
import { catalogues, names, patterns, plainRights } from "./plain-permissions.ts";

type Giver = Pick<Decision, "principal" | "grants" | "permissions" | "catalogue">;

const grantees = fc.constantFrom<Grantee>("role", "api-key", "service-key");

/** Somebody who holds some of the catalogue, and a list of which some is known. */
const grants = catalogues.chain((catalogue) => {
  const all = [...catalogue.organization, ...catalogue.platform];
  return fc.record({
    grantee: grantees,
    giver: fc.record({
      principal: fc.constantFrom("user", "api_key", "service").map(principalOf),
      grants: fc.array(patterns, { maxLength: 3 }),
      permissions: fc.oneof(
        fc.constant(new Set(all)),
        fc.subarray(all).map((held) => new Set(held)),
      ),
      catalogue: fc.constant(catalogue),
    }),
    asked: fc.array(all.length === 0 ? patterns : fc.oneof(fc.constantFrom(...all), patterns), {
      maxLength: 4,
    }),
  });
});

function principalOf(type: string): Giver["principal"] {
  return { id: "1", type: type as Giver["principal"]["type"], displayName: "", email: "", role: "" };
}

function giver(permissions: readonly string[], catalogue: Catalogue, type = "user"): Giver {
  return { principal: principalOf(type), grants: permissions, permissions: new Set(permissions), catalogue };
}

/** What is granted, or why nothing is. */
function outcomeOf(giver: Giver, asked: readonly string[], grantee: Grantee): string[] | string {
  try {
    return checkGrant(giver, asked, grantee);
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    return error.reason;
  }
}

test("nobody grants what they do not hold", () => {
  fc.assert(
    fc.property(grants, ({ giver, asked, grantee }) => {
      const granted = outcomeOf(giver, asked, grantee);
      if (typeof granted !== "string") {
        assert.ok(plainRights(granted, grantee, giver.catalogue).isSubsetOf(giver.permissions));
      }
    }),
    { numRuns: 3_000 },
  );
});

test("a grant is refused exactly where one of its texts stands for nothing, or for more than is held", () => {
  fc.assert(
    fc.property(grants, ({ giver, asked, grantee }) => {
      const isUnknown = asked.some((text) => plainRights([text], grantee, giver.catalogue).size === 0);
      const isBeyond = !plainRights(asked, grantee, giver.catalogue).isSubsetOf(giver.permissions);
      const reachesAsFar = giver.principal.type === "service" || grantee === "api-key";
      const isOwn = (pattern: string) =>
        reachesAsFar && (giver.grants.includes(pattern) || giver.grants.includes("*"));
      const { type } = giver.principal;
      const isBounded = type === "user" || (type === "service" && grantee === "api-key");
      const isOpen = !isBounded && asked.some((text) => isPattern(text) && !isOwn(text));
      const expected = isUnknown
        ? "PERMISSION_UNKNOWN"
        : isBeyond || isOpen
          ? "PERMISSION_NOT_HELD"
          : [...new Set(asked)].sort();
      assert.deepEqual(outcomeOf(giver, asked, grantee), expected);
    }),
    { numRuns: 3_000 },
  );
});

test("what an API key grants does not grow beyond it when the catalogue does", () => {
  fc.assert(
    fc.property(grants, fc.uniqueArray(names), ({ giver, asked, grantee }, more) => {
      const byKey = { ...giver, principal: principalOf("api_key"), grants: [...giver.permissions] };
      const granted = outcomeOf(byKey, asked, grantee);
      fc.pre(typeof granted !== "string");
      const { organization, platform } = giver.catalogue;
      const known = new Set([...organization, ...platform]);
      const grown = { organization: [...organization, ...more.filter((name) => !known.has(name))], platform };
      assert.ok(expandPatterns(granted, grantee, grown).isSubsetOf(giver.permissions));
    }),
    { numRuns: 1_000 },
  );
});

test("an API key does not grant what its own patterns would spare", () => {
  const catalogue = { organization: ["auth.users.read", "calls.read"], platform: ["platform.users.read"] };
  const all = [...catalogue.organization, ...catalogue.platform];
  assert.deepEqual(outcomeOf(giver(all, catalogue), ["auth.*"], "api-key"), "PERMISSION_UNKNOWN");
  assert.deepEqual(outcomeOf(giver(all, catalogue), ["platform.*"], "api-key"), "PERMISSION_UNKNOWN");
  assert.deepEqual(outcomeOf(giver(all, catalogue), ["platform.users.read"], "role"), "PERMISSION_UNKNOWN");
  assert.deepEqual(outcomeOf(giver(["calls.read"], catalogue), ["*"], "api-key"), ["*"]);
  assert.deepEqual(outcomeOf(giver(["calls.read"], catalogue), ["*"], "role"), "PERMISSION_NOT_HELD");
});

test("the refusal names what is unknown and what is not held, and nothing else", () => {
  const catalogue = { organization: ["a.read", "a.write", "b.read"], platform: [] };
  const metadataOf = (asked: readonly string[]) => {
    try {
      return checkGrant(giver(["a.read"], catalogue), asked, "role");
    } catch (error) {
      assert.ok(error instanceof AuthError);
      return error.metadata;
    }
  };
  assert.deepEqual(metadataOf(["a.read", "a.raed", "c.*"]), { unknown: "a.raed c.*" });
  assert.deepEqual(metadataOf(["*.read", "a.*", "a.write"]), { not_held: "a.write b.read" });
});

test("what is granted is sorted and told once", () => {
  fc.assert(
    fc.property(catalogues, fc.array(patterns), (catalogue, asked) => {
      const all = [...catalogue.organization, ...catalogue.platform];
      const known = asked.filter((text) => plainRights([text], "service-key", catalogue).size > 0);
      const granted = checkGrant(giver(all, catalogue), [...known, ...known], "service-key");
      assert.deepEqual(granted, [...new Set(known)].sort());
    }),
  );
});

/** Whether a key that is bound so makes one that is to be bound so. */
function mayMake(
  type: Giver["principal"]["type"],
  own: { ends?: number; cidrs?: string[] },
  asked: { ends?: number; cidrs?: string[] },
): boolean {
  const timeOf = (ends: number | undefined) => (ends === undefined ? undefined : new Date(ends));
  const credential = { id: "1", type: "api_key", expireTime: timeOf(own.ends) } as const;
  const maker = { principal: principalOf(type), credential, allowedCidrs: own.cidrs ?? [] };
  try {
    checkBounds(maker, { expireTime: timeOf(asked.ends), allowedCidrs: asked.cidrs ?? [] });
    return true;
  } catch (error) {
    assert.ok(error instanceof AuthError && error.reason === "PERMISSION_NOT_HELD", String(error));
    return false;
  }
}

test("a key makes no key that outlives it, or that is good where it is not itself", () => {
  const times = fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined });
  const cidrs = fc.subarray(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"]);
  const bounds = fc.record({ ends: times, cidrs });
  const within: Record<string, string[]> = {
    "10.0.0.0/8": ["10.0.0.0/8", "0.0.0.0/0"],
    "10.1.0.0/16": ["10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"],
    "192.0.2.0/24": ["192.0.2.0/24", "0.0.0.0/0"],
    "2001:db8::/32": ["2001:db8::/32"],
    "0.0.0.0/0": ["0.0.0.0/0"],
  };
  const strip = ({ ends, cidrs }: { ends: number | undefined; cidrs: string[] }) => ({
    cidrs,
    ...(ends !== undefined && { ends }),
  });
  fc.assert(
    fc.property(fc.constantFrom("api_key", "service"), bounds, bounds, (type, own, asked) => {
      const inTime = own.ends === undefined || (asked.ends !== undefined && asked.ends <= own.ends);
      const isNarrower = asked.cidrs.every((cidr) => within[cidr]?.some((wide) => own.cidrs.includes(wide)));
      const inPlace = own.cidrs.length === 0 || (asked.cidrs.length > 0 && isNarrower);
      assert.equal(mayMake(type, strip(own), strip(asked)), inTime && inPlace);
    }),
    { numRuns: 2_000 },
  );
});

test("a person's token does not bound the keys that they make: it ends with a login, not with their rights", () => {
  assert.equal(mayMake("user", { ends: 1 }, {}), true);
  assert.equal(mayMake("user", { ends: 1 }, { ends: 2, cidrs: ["10.0.0.0/8"] }), true);
});
