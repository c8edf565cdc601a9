import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Decision } from "../../src/authenticate/decision.ts";
import { AuthError } from "../../src/errors.ts";
import { checkBounds, checkGrant } from "../../src/permissions/grant.ts";
import { type Catalogue, type Grantee, isPattern } from "../../src/permissions/permission-pattern.ts";
import { catalogues, names, patterns, plainCovers, plainRights } from "./plain-permissions.ts";

type Giver = Pick<Decision, "principal" | "parentKey" | "grants" | "permissions" | "catalogue">;

/** Of a token that a service got. */
const PARENT: Giver["parentKey"] = { type: "service", id: "2", displayName: "" };

const grantees = fc.constantFrom<Grantee>("role", "api-key", "service-key");

/** Somebody who holds some of the catalogue, and a list of which some is known. */
const grants = catalogues.chain((catalogue) => {
  const all = [...catalogue.organization, ...catalogue.platform];
  return fc.record({
    grantee: grantees,
    giver: fc.record({
      principal: fc.constantFrom("user", "api_key", "service").map(principalOf),
      parentKey: fc.constantFrom(undefined, PARENT),
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
  const principal = principalOf(type);
  return {
    principal,
    parentKey: undefined,
    grants: permissions,
    permissions: new Set(permissions),
    catalogue,
  };
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
      const { type } = giver.principal;
      const { platform } = giver.catalogue;
      const holdsPlatform = platform.length > 0 && new Set(platform).isSubsetOf(giver.permissions);
      // How far each one's own patterns reach.
      const reachesAsFar =
        type === "service" ||
        (type === "user" && (grantee !== "service-key" || holdsPlatform)) ||
        (type === "api_key" && grantee === "api-key");
      const isOwn = (pattern: string) =>
        reachesAsFar && giver.grants.some((wide) => plainCovers(wide, pattern));
      // The new key stands on whoever makes it, who is all of themselves.
      const isBounded = type !== "api_key" && giver.parentKey === undefined && grantee === "api-key";
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

/** Somebody by what their permissions come from, and what the catalogue gains later. */
const growing = catalogues.chain((catalogue) => {
  const all = [...catalogue.organization, ...catalogue.platform];
  // As many as there are, by name: whoever holds those holds all that a pattern means today.
  const texts = all.length === 0 ? patterns : fc.oneof(fc.constantFrom(...all), patterns);
  return fc.record({
    catalogue: fc.constant(catalogue),
    type: fc.constantFrom("user", "api_key", "service"),
    parentKey: fc.constantFrom(undefined, PARENT),
    grants: fc.oneof(fc.constant(all), fc.array(texts, { maxLength: 4 })),
    isOfPlatform: fc.boolean(),
    asked: fc.array(texts, { minLength: 1, maxLength: 4 }),
    grantee: grantees,
    added: fc.record({ organization: fc.uniqueArray(names), platform: fc.uniqueArray(names) }),
  });
});

const GRANTEES = { user: "role", api_key: "api-key", service: "service-key" } as const;

test("what is granted does not grow beyond whoever granted it when the catalogue does", () => {
  let passedOn = 0;
  fc.assert(
    fc.property(growing, ({ catalogue, type, parentKey, grants, isOfPlatform, asked, grantee, added }) => {
      const rightsIn = (now: Catalogue) => {
        const byGrants = plainRights(grants, GRANTEES[type as keyof typeof GRANTEES], now);
        return byGrants.union(new Set(type === "user" && isOfPlatform ? now.platform : []));
      };
      const giver = {
        principal: principalOf(type),
        parentKey,
        grants,
        permissions: rightsIn(catalogue),
        catalogue,
      };
      const granted = outcomeOf(giver, asked, grantee);
      // A new API key of a person's or an internal key's stands on them: that is its bound, whatever it was granted.
      const isBounded = type !== "api_key" && parentKey === undefined && grantee === "api-key";
      fc.pre(typeof granted !== "string" && !isBounded);
      const known = new Set([...catalogue.organization, ...catalogue.platform]);
      const organization = added.organization.filter((name) => !known.has(name));
      const platform = added.platform.filter((name) => !known.has(name) && !organization.includes(name));
      const grown = {
        organization: [...catalogue.organization, ...organization],
        platform: [...catalogue.platform, ...platform],
      };
      const reached = plainRights(granted, grantee, grown);
      assert.ok(reached.isSubsetOf(rightsIn(grown)), `${type} gave ${granted} to a ${grantee}`);
      passedOn +=
        granted.some(isPattern) && reached.size > plainRights(granted, grantee, catalogue).size ? 1 : 0;
    }),
    { numRuns: 5_000 },
  );
  assert.ok(passedOn > 10, "patterns were granted, and came to reach more");
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
    const somebody = { ...giver(["a.read"], catalogue), grants: ["*"] };
    try {
      return checkGrant(somebody, asked, "role");
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
      const somebody = { ...giver(all, catalogue, "service"), grants: ["*"] };
      const granted = checkGrant(somebody, [...known, ...known], "service-key");
      assert.deepEqual(granted, [...new Set(known)].sort());
    }),
  );
});

/** Whether a key that is bound so makes one that is to be bound so. */
function mayMake(
  { type, parentKey }: { type: Giver["principal"]["type"]; parentKey?: Giver["parentKey"] },
  own: { ends?: number; cidrs?: string[] },
  asked: { ends?: number; cidrs?: string[] },
): boolean {
  const timeOf = (ends: number | undefined) => (ends === undefined ? undefined : new Date(ends));
  const credential = { id: "1", type: "api_key", expireTime: timeOf(own.ends) } as const;
  const maker = { principal: principalOf(type), parentKey, credential, allowedCidrs: own.cidrs ?? [] };
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
  // The third is a person's token that a service got.
  const makers = fc.constantFrom(
    { type: "api_key" } as const,
    { type: "service" } as const,
    { type: "user", parentKey: PARENT } as const,
  );
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
    fc.property(makers, bounds, bounds, (maker, own, asked) => {
      const inTime = own.ends === undefined || (asked.ends !== undefined && asked.ends <= own.ends);
      const isNarrower = asked.cidrs.every((cidr) => within[cidr]?.some((wide) => own.cidrs.includes(wide)));
      const inPlace = own.cidrs.length === 0 || (asked.cidrs.length > 0 && isNarrower);
      assert.equal(mayMake(maker, strip(own), strip(asked)), inTime && inPlace);
    }),
    { numRuns: 2_000 },
  );
});

test("a person's token does not bound the keys that they make: it ends with a login, not with their rights", () => {
  assert.equal(mayMake({ type: "user" }, { ends: 1 }, {}), true);
  assert.equal(mayMake({ type: "user" }, { ends: 1 }, { ends: 2, cidrs: ["10.0.0.0/8"] }), true);
});
