import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mintKey, parseKey } from "../../src/credentials/secret-key.ts";

// A changed key passes for a key where its CRC-32 happens to fit: once in 2^32 tries, and never where all
// that changed lies within four characters of each other.

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const prefixes = fc.stringMatching(/^[a-z][a-z0-9]{0,15}$/);
const labels = fc.oneof(fc.constant(""), fc.stringMatching(/^[a-z][a-z0-9]{0,11}$/));

/** A key that was minted now, of any prefix and label. */
const keys = fc.tuple(prefixes, labels).map(([prefix, label]) => ({
  prefix,
  label,
  accepted: new Set([prefix]),
  key: mintKey(prefix, label),
}));

test("a minted key of any prefix and label parses to the id by which it is found", () => {
  fc.assert(
    fc.property(keys, ({ key, accepted }) => {
      assert.equal(parseKey(key.text, accepted), key.lookupId);
    }),
  );
});

test("a minted key is prefix, label, 12 and 43 characters to the base 62, and the CRC-32 of all before it", () => {
  fc.assert(
    fc.property(keys, ({ key, prefix, label }) => {
      const start = label === "" ? prefix : `${prefix}_${label}`;
      assert.match(key.text, new RegExp(`^${start}_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$`));
      assert.equal(key.displayPrefix, key.text.slice(0, -50));
      assert.ok(key.displayPrefix.endsWith(`_${key.lookupId}`));
      assert.equal(key.text.slice(-6), checksumOf(key.text.slice(0, -6)));
    }),
  );
});

test("keys that were handed out stay keys: the format is fixed", () => {
  const body = "ak_test_0123456789AB_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg";
  assert.equal(parseKey(`${body}0d0Uro`, new Set(["ak"])), "0123456789AB");
  assert.equal(checksumOf(body), "0d0Uro");
});

test("no two keys share an id or a secret", () => {
  const minted = Array.from({ length: 2_000 }, () => mintKey("ak"));
  assert.equal(new Set(minted.map(({ lookupId }) => lookupId)).size, minted.length);
  assert.equal(new Set(minted.map(({ text }) => text.slice(-49, -6))).size, minted.length);
});

test("what is shown of a key holds nothing of its secret", () => {
  fc.assert(
    fc.property(keys, ({ key, accepted }) => {
      assert.ok(!key.displayPrefix.includes(key.text.slice(-49, -6)));
      assert.equal(parseKey(key.displayPrefix, accepted), undefined);
    }),
  );
});

test("no part of a key from its start is a key", () => {
  fc.assert(
    fc.property(keys, ({ key, accepted }) => {
      for (let length = 0; length < key.text.length; length++) {
        assert.equal(parseKey(key.text.slice(0, length), accepted), undefined);
      }
    }),
  );
});

test("a key with anything before or after it is no key", () => {
  const extra = fc.oneof(
    fc.string({ minLength: 1 }),
    fc.string({ unit: "binary", minLength: 1 }),
    fc.constantFrom(" ", "\n", "\r\n", "\0", "_", "ak_", "test_", "0", "=", "%20", "\u0130"),
  );
  fc.assert(
    fc.property(keys, extra, ({ key, accepted }, extra) => {
      assert.equal(parseKey(key.text + extra, accepted), undefined);
      assert.equal(parseKey(extra + key.text, accepted), undefined);
    }),
  );
});

test("a key with a letter in the other case is no key, wherever the letter is", () => {
  fc.assert(
    fc.property(keys, ({ key: { text }, accepted }) => {
      for (const [at, letter] of [...text].entries()) {
        const other = letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
        if (other !== letter) {
          assert.equal(parseKey(text.slice(0, at) + other + text.slice(at + 1), accepted), undefined);
        }
      }
      assert.equal(parseKey(text.toUpperCase(), accepted), undefined);
      assert.equal(parseKey(text.toLowerCase(), accepted), undefined);
    }),
    // That a whole key has one case only does not happen.
    { numRuns: 50 },
  );
});

test("a key with one character replaced is no key, whatever the character and wherever it is", () => {
  const character = fc.oneof(
    fc.constantFrom(...BASE62, "_", "-", " "),
    fc.string({ minLength: 1, maxLength: 1 }),
  );
  fc.assert(
    fc.property(keys, character, ({ key: { text }, accepted }, character) => {
      for (let at = 0; at < text.length; at++) {
        if (text[at] !== character) {
          assert.equal(parseKey(text.slice(0, at) + character + text.slice(at + 1), accepted), undefined);
        }
      }
    }),
  );
});

test("a key with two neighbours changed round is no key", () => {
  fc.assert(
    fc.property(keys, ({ key: { text }, accepted }) => {
      for (let at = 0; at + 1 < text.length; at++) {
        const [one = "", other = ""] = text.slice(at, at + 2);
        if (one !== other) {
          assert.equal(parseKey(text.slice(0, at) + other + one + text.slice(at + 2), accepted), undefined);
        }
      }
    }),
  );
});

test("a key with a character left out or said twice is no key", () => {
  fc.assert(
    fc.property(keys, ({ key: { text }, accepted }) => {
      for (let at = 0; at < text.length; at++) {
        assert.equal(parseKey(text.slice(0, at) + text.slice(at + 1), accepted), undefined);
        assert.equal(parseKey(text.slice(0, at + 1) + text.slice(at), accepted), undefined);
      }
    }),
  );
});

test("the parts of two keys do not make a third", () => {
  fc.assert(
    fc.property(prefixes, (prefix) => {
      const accepted = new Set([prefix]);
      const [one, other] = [mintKey(prefix).text, mintKey(prefix).text];
      for (const cut of [6, 49, 50]) {
        assert.equal(parseKey(one.slice(0, -cut) + other.slice(-cut), accepted), undefined);
      }
    }),
  );
});

test("a key of a prefix that is not accepted is no key, and a label is no prefix", () => {
  fc.assert(
    fc.property(keys, fc.uniqueArray(prefixes), ({ key, prefix, label }, others) => {
      const accepted = new Set([...others, label].filter((other) => other !== prefix));
      assert.equal(parseKey(key.text, accepted), undefined);
      assert.equal(parseKey(key.text, new Set()), undefined);
      assert.equal(parseKey(key.text, new Set([...accepted, prefix])), key.lookupId);
    }),
  );
});

test("any text is a key exactly where a plain reading of the format says so", () => {
  const accepted = new Set(["ak", "old"]);
  const parts = fc.oneof(
    fc.constantFrom("ak", "old", "sk", "test", "", "AK", "__proto__"),
    fc.stringMatching(/^[0-9A-Za-z]{12}$/),
    fc.stringMatching(/^[0-9A-Za-z]{43}$/),
    fc.string(),
  );
  const texts = fc
    .tuple(fc.array(parts, { maxLength: 5 }), fc.boolean())
    // With a right checksum, so that all the other rules are what decides.
    .map(([list, sum]) => (sum ? list.join("_") + checksumOf(list.join("_")) : list.join("_")));
  fc.assert(
    fc.property(texts, (text) => {
      const form = /^(?:ak|old)(?:_[a-z][a-z0-9]{0,11})?_([0-9A-Za-z]{12})_[0-9A-Za-z]{43}([0-9A-Za-z]{6})$/;
      const [whole, lookupId, checksum] = form.exec(text) ?? [];
      const isKey = whole === text && checksum === checksumOf(text.slice(0, -6));
      assert.equal(parseKey(text, accepted), isKey ? lookupId : undefined);
    }),
    { numRuns: 2_000 },
  );
});

/** CRC-32 (ISO 3309), bit by bit, as six digits to the base 62. */
function checksumOf(text: string): string {
  let register = 0xffffffff;
  for (const byte of Buffer.from(text)) {
    register ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      register = register & 1 ? (register >>> 1) ^ 0xedb88320 : register >>> 1;
    }
  }
  let digits = "";
  for (let rest = BigInt((register ^ 0xffffffff) >>> 0); digits.length < 6; rest /= 62n) {
    digits = BASE62.charAt(Number(rest % 62n)) + digits;
  }
  return digits;
}
