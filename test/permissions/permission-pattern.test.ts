import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  compilePattern,
  expandPattern,
  expandPatterns,
  type Grantee,
  isPattern,
} from "../../src/permissions/permission-pattern.ts";
import { catalogues, names, patterns, plainPattern, plainRights } from "./plain-permissions.ts";

const grantees = fc.constantFrom<Grantee>("role", "api-key", "service-key");

test("a pattern matches exactly what a plain regular expression matches", () => {
  fc.assert(
    fc.property(patterns, names, (pattern, name) => {
      assert.equal(compilePattern(pattern)?.(name), plainPattern(pattern)?.test(name));
    }),
    { numRuns: 5_000 },
  );
});

test("a text that is neither a name nor a pattern stands for nothing", () => {
  const texts = fc.oneof(
    fc.string(),
    fc.stringMatching(/^[a-z*._]{0,8}$/),
    fc.constantFrom(
      "**",
      "*.*",
      "calls.*.read",
      "calls.*.*",
      "*calls",
      "calls*",
      "calls.",
      ".read",
      "calls..read",
    ),
    fc.constantFrom(
      "Calls.read",
      "calls.read\n",
      " calls.read",
      "__proto__",
      "constructor",
      "1calls",
      "*.",
      ".*",
    ),
  );
  fc.assert(
    fc.property(texts, names, grantees, catalogues, (text, name, grantee, catalogue) => {
      assert.equal(compilePattern(text) === undefined, plainPattern(text) === undefined);
      assert.equal(compilePattern(text)?.(name), plainPattern(text)?.test(name));
      if (plainPattern(text) === undefined) {
        assert.deepEqual(expandPattern(text, grantee, catalogue), []);
      }
    }),
    { numRuns: 5_000 },
  );
});

test("a pattern reaches whole segments only", () => {
  assert.equal(compilePattern("calls.*")?.("calls"), false);
  assert.equal(compilePattern("calls.*")?.("callsx.read"), false);
  assert.equal(compilePattern("calls.*")?.("calls.live.read"), true);
  assert.equal(compilePattern("*.read")?.("read"), false);
  assert.equal(compilePattern("*.read")?.("calls.unread"), false);
  assert.equal(compilePattern("*.read")?.("auth.users.read"), true);
});

test("no pattern in a role or in an API key reaches a permission of the platform", () => {
  fc.assert(
    fc.property(
      fc.array(patterns),
      fc.constantFrom("role", "api-key"),
      catalogues,
      (list, grantee, catalogue) => {
        const reached = expandPatterns([...list, ...catalogue.platform, "*"], grantee, catalogue);
        assert.ok(reached.isDisjointFrom(new Set(catalogue.platform)));
      },
    ),
  );
});

test("no pattern in an API key reaches auth.*, and each of its names does", () => {
  fc.assert(
    fc.property(patterns, catalogues, (pattern, catalogue) => {
      const own = catalogue.organization.filter((name) => name.startsWith("auth."));
      const reached = expandPattern(pattern, "api-key", catalogue).filter((name) => name.startsWith("auth."));
      assert.deepEqual(reached, isPattern(pattern) ? [] : own.filter((name) => name === pattern));
      assert.deepEqual(expandPatterns(own, "api-key", catalogue), new Set(own));
    }),
    { numRuns: 1_000 },
  );
});

test("a list stands for exactly what a plain reading of it, name by name, says", () => {
  fc.assert(
    fc.property(fc.array(patterns), grantees, catalogues, (list, grantee, catalogue) => {
      assert.deepEqual(
        [...expandPatterns(list, grantee, catalogue)].sort(),
        [...plainRights(list, grantee, catalogue)].sort(),
      );
    }),
    { numRuns: 2_000 },
  );
});

test("an internal key of everything holds everything, a role of everything all but the platform's", () => {
  fc.assert(
    fc.property(catalogues, (catalogue) => {
      const { organization, platform } = catalogue;
      assert.deepEqual(
        expandPatterns(["*"], "service-key", catalogue),
        new Set([...organization, ...platform]),
      );
      assert.deepEqual(expandPatterns(["*"], "role", catalogue), new Set(organization));
    }),
  );
});

test("more names and patterns never stand for less", () => {
  fc.assert(
    fc.property(fc.array(patterns), patterns, grantees, catalogues, (list, more, grantee, catalogue) => {
      const before = expandPatterns(list, grantee, catalogue);
      assert.ok(before.isSubsetOf(expandPatterns([...list, more], grantee, catalogue)));
    }),
  );
});
