import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { canonical } from "../../src/users/canonical.ts";

const texts = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.string({ unit: "binary" }),
  fc.string({
    unit: fc.constantFrom("\u0130", "\u212a", "\u03a3", "\u1e9e", "\u01c4", "\ufb01", "i", "\u0307"),
  }),
);

test("the canonical form of a canonical form is itself", () => {
  fc.assert(
    fc.property(texts, (text) => {
      assert.equal(canonical(canonical(text)), canonical(text));
    }),
    { numRuns: 3_000 },
  );
});

test("texts that are equivalent have one canonical form", () => {
  fc.assert(
    fc.property(texts, (text) => {
      for (const form of ["NFC", "NFD", "NFKC", "NFKD"]) {
        assert.equal(canonical(text.normalize(form)), canonical(text));
      }
    }),
    { numRuns: 3_000 },
  );
});

test("the case of letters makes no difference", () => {
  for (const [one, other] of [
    ["ACME", "acme"],
    ["\u00c9COLE", "\u00e9cole"],
    ["\uff21\uff23\uff2d\uff25", "acme"],
    ["\u212a", "k"],
    ["\u0394\u0395\u039b\u03a4\u0391", "\u03b4\u03b5\u03bb\u03c4\u03b1"],
  ] as const) {
    assert.equal(canonical(one), canonical(other));
  }
});
