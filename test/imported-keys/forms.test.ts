import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ALPHABETS,
  createForeignTexts,
  displayPrefixOf,
  fits,
  type KeyAlphabet,
  type KeyFormat,
} from "../../src/credentials/imported-key/key-format.ts";
import { type KeyHashAlgorithm, readHash } from "../../src/credentials/imported-key/key-hash.ts";
import {
  CrowdCount,
  checkLookupPrefix,
  lookupPrefixesOf,
} from "../../src/credentials/imported-key/lookup-prefix.ts";
import { AuthError, type Reason } from "../../src/errors.ts";
import { VECTORS } from "./vectors.ts";

const reasonFor = (work: () => unknown): Reason | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    return error.reason;
  }
};

const foreignTexts = createForeignTexts(["ak", "oldak", "sk"]);
const check = (prefix: string, alphabet: KeyAlphabet = "printable", length = 40) =>
  reasonFor(() => foreignTexts.checkFormat({ prefix, length, alphabet }));

test("a prefix with which a text could be taken for one of ours or for a JWT is refused", () => {
  for (const prefix of ["ak_", "ak_live_", "sk_", "sk_live_", "oldak_x", "eyJ", "eyJhbGci"]) {
    assert.equal(check(prefix), "KEY_FORMAT_INVALID", prefix);
    assert.equal(check(prefix, "hex"), "KEY_FORMAT_INVALID", prefix);
  }
  // The rest of ours may follow: but not where the alphabet does not have it.
  for (const prefix of ["a", "ak", "s", "sk", "oldak", "o"]) {
    assert.equal(check(prefix, "printable"), "KEY_FORMAT_INVALID", prefix);
    assert.equal(check(prefix, "base64url"), "KEY_FORMAT_INVALID", prefix);
    assert.equal(check(prefix, "base62"), undefined, prefix);
    assert.equal(check(prefix, "hex"), undefined, prefix);
  }
  for (const prefix of ["ey", "e"]) {
    assert.equal(check(prefix, "base62"), "KEY_FORMAT_INVALID", prefix);
    assert.equal(check(prefix, "hex"), undefined, prefix);
  }
  for (const prefix of ["", "aks_", "old_", "AK_", "akk", "live-", "x.y"]) {
    assert.equal(check(prefix), undefined, prefix);
  }
});

test("a format that holds no key is refused", () => {
  assert.equal(check("a-prefix-of-17-ch", "hex", 17), "KEY_FORMAT_INVALID");
  assert.equal(check("a-prefix-of-17-ch", "hex", 16), "KEY_FORMAT_INVALID");
  assert.equal(check("a-prefix-of-17-ch", "hex", 18), undefined);
});

test("no text that begins as ours, and no JWT, is ever looked up among the keys of others", () => {
  for (const text of [
    `ak_${"x".repeat(40)}`,
    `sk_${"x".repeat(40)}`,
    `oldak_${"x".repeat(40)}`,
    "eyJhbGciOiJub25lIn0.e30.c2ln",
    "x".repeat(15),
    "x".repeat(513),
    `${"x".repeat(20)} ${"x".repeat(20)}`,
    `${"x".repeat(20)}\0`,
    `${"x".repeat(20)}ä`,
  ]) {
    assert.equal(foreignTexts.mayBeForeign(text), false, text);
  }
  for (const text of ["x".repeat(16), "x".repeat(512), `eyJ${"x".repeat(30)}`, "ak-not-one-of-ours"]) {
    assert.equal(foreignTexts.mayBeForeign(text), true, text);
  }
});

const formats = fc.record({
  prefix: fc.stringMatching(/^[A-Za-z0-9_.-]{0,12}$/),
  length: fc.integer({ min: 16, max: 64 }),
  alphabet: fc.constantFrom(...(Object.keys(ALPHABETS) as KeyAlphabet[])),
});

test("a text fits a format where its prefix, its length and each of its characters do", () => {
  const visible = Array.from({ length: 94 }, (_, at) => String.fromCharCode(0x21 + at));
  fc.assert(
    fc.property(formats, fc.nat(), (format, at) => {
      const good = visible.find((character) => ALPHABETS[format.alphabet].test(character)) ?? "0";
      const text = format.prefix + good.repeat(format.length - format.prefix.length);
      assert.ok(fits(format, text));
      assert.ok(!fits(format, text + good));
      assert.ok(!fits(format, text.slice(0, -1)));
      assert.ok(!fits(format, `~${text.slice(1)}`) || format.prefix === "");
      const place = format.prefix.length + (at % (format.length - format.prefix.length));
      for (const character of [...visible, " ", "\n", "\0", "ä"]) {
        const other = text.slice(0, place) + character + text.slice(place + 1);
        assert.equal(fits(format, other), ALPHABETS[format.alphabet].test(character), character);
      }
    }),
    { numRuns: 50 },
  );
});

test("no more of a text is shown than its prefix and four characters, and a third at most", () => {
  fc.assert(
    fc.property(formats, (format) => {
      const text = format.prefix.padEnd(format.length, "0");
      const shown = displayPrefixOf(format, text);
      assert.ok(text.startsWith(shown));
      assert.ok(shown.length <= format.prefix.length + 4);
      assert.ok(shown.length <= text.length / 3);
    }),
  );
});

test("hashes are read strictly, and what is too costly to check is refused", () => {
  const read = (algorithm: KeyHashAlgorithm, hash: string | Uint8Array) =>
    reasonFor(() => readHash(algorithm, Buffer.from(hash)));
  for (const [algorithm, length] of [
    ["sha256", 32],
    ["hmac-sha256", 32],
    ["sha512", 64],
    ["hmac-sha512", 64],
  ] as const) {
    for (const [size, expected] of [
      [length, undefined],
      [length - 1, "KEY_HASH_INVALID"],
      [length + 1, "KEY_HASH_INVALID"],
      [2 * length, "KEY_HASH_INVALID"],
      [0, "KEY_HASH_INVALID"],
    ] as const) {
      assert.equal(read(algorithm, Buffer.alloc(size)), expected, `${size} bytes of ${algorithm}`);
    }
  }

  const good = {
    bcrypt: "$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
    scrypt: "$scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$9+sHrEAjzf7jsqUIc9KooxRGRBG3+G5ttTCq/2y0SeY",
    argon2:
      "$argon2id$v=19$m=8192,t=2,p=4$MDEyMzQ1Njc4OWFiY2RlZg$u/Hk+CKeRyt2UWZEYXy7tUOuDAbu2mMImRzXTrW+hSM",
  } as const;
  const bad: Record<keyof typeof good, readonly string[]> = {
    bcrypt: [
      "$2x$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
      "$2$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
      "$2b$15$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
      "$2b$31$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
      "$2b$03$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
      "$2b$5$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
      "$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/",
      "$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/Cx",
      // Bits that nobody looks at: another text for the same hash.
      "$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/D",
      "$2b$10$abcdefghijklmnopqrstuvKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
      "$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C\n",
      good.scrypt,
      good.argon2,
    ],
    scrypt: [
      good.scrypt.replace("ln=14", "ln=17"),
      good.scrypt.replace("ln=14", "ln=014"),
      good.scrypt.replace("ln=14", "ln=0"),
      good.scrypt.replace("ln=14", "ln=99"),
      good.scrypt.replace("r=8", "r=999"),
      good.scrypt.replace("p=1", "p=9"),
      good.scrypt.replace("p=1", "p=0"),
      good.scrypt.replace("ln=14,r=8", "r=8,ln=14"),
      good.scrypt.replace("$9+s", "$9-s"),
      good.scrypt.replace("SeY", "SeZ"),
      `${good.scrypt}=`,
      `${good.scrypt}\n`,
      good.scrypt.slice(0, -30),
      good.scrypt.replace("$AAECAwQFBgcICQoLDA0ODw$", "$AAECAw$"),
      good.bcrypt,
    ],
    argon2: [
      good.argon2.replace("v=19", "v=16"),
      good.argon2.replace("v=19$", ""),
      good.argon2.replace("argon2id", "argon2"),
      good.argon2.replace("m=8192", "m=65537"),
      good.argon2.replace("m=8192", "m=4294967295"),
      good.argon2.replace("m=8192", "m=31"),
      good.argon2.replace("t=2", "t=11"),
      good.argon2.replace("t=2", "t=0"),
      good.argon2.replace("m=8192,t=2", "m=65536,t=5"),
      good.argon2.replace("p=4", "p=17"),
      good.argon2.replace("p=4", "p=4,keyid=AAAA"),
      good.argon2.replace("m=8192,t=2", "t=2,m=8192"),
      good.argon2.replace("hSM", "hSN"),
      `${good.argon2}=`,
      ` ${good.argon2}`,
      good.scrypt,
    ],
  };
  for (const algorithm of ["bcrypt", "scrypt", "argon2"] as const) {
    assert.equal(read(algorithm, good[algorithm]), undefined, algorithm);
    for (const hash of bad[algorithm]) {
      assert.equal(read(algorithm, hash), "KEY_HASH_INVALID", hash);
    }
  }
  assert.equal(read("argon2", good.argon2.replace("m=8192,t=2", "m=65536,t=4")), undefined);
  assert.equal(read("scrypt", good.scrypt.replace("ln=14,r=8,p=1", "ln=16,r=8,p=2")), undefined);
  assert.equal(read("bcrypt", good.bcrypt.replace("$10$", "$14$")), undefined);
});

test("whatever is changed in a good hash, it is refused or another hash: none is read in two ways", () => {
  const hashes = VECTORS.filter(({ hash }) => hash[0] === "$".charCodeAt(0)).map(({ hash }) => hash);
  const algorithmOf = (text: string) =>
    text.startsWith("$2") ? "bcrypt" : text.startsWith("$scrypt") ? "scrypt" : "argon2";
  fc.assert(
    fc.property(fc.constantFrom(...hashes), fc.nat(), fc.nat({ max: 255 }), (hash, at, byte) => {
      const changed = Buffer.from(hash);
      changed[at % hash.length] = byte;
      try {
        const read = readHash(algorithmOf(hash.toString()), changed);
        assert.equal(read, changed.toString("latin1"));
      } catch (error) {
        assert.equal(error instanceof AuthError && error.reason, "KEY_HASH_INVALID");
      }
    }),
  );
});

const OLD: KeyFormat = { prefix: "old_", length: 40, alphabet: "base62" };

test("a lookup prefix goes beyond the format's own, fits it, and leaves at least half of the rest unsaid", () => {
  const lookup = (format: KeyFormat, text: string) => reasonFor(() => checkLookupPrefix(format, text));
  for (const text of ["old_abcd", "old_abcdefgh", "old_abcdefghijklmnopqr"]) {
    assert.equal(lookup(OLD, text), undefined, text);
  }
  for (const text of ["", "old_", "old_abc", "new_abcd", "OLD_abcd", "old_ab-d", "old_abcdefghijklmnopqrs"]) {
    assert.equal(lookup(OLD, text), "KEY_LOOKUP_PREFIX_INVALID", text);
  }
  const long = { prefix: "a-prefix-of-twenty--", length: 100, alphabet: "hex" } as const;
  assert.equal(lookup(long, "a-prefix-of-twenty--"), "KEY_LOOKUP_PREFIX_INVALID");
  assert.equal(lookup(long, "a-prefix-of-twenty--0"), undefined);
  assert.equal(lookup(long, "a-prefix-of-twenty--0123456789ab"), undefined);
  assert.equal(lookup(long, "a-prefix-of-twenty--0123456789abc"), "KEY_LOOKUP_PREFIX_INVALID");
  // Nothing of it may be said at all.
  const short = { prefix: "", length: 15, alphabet: "hex" } as const;
  assert.equal(lookup(short, "01234567"), "KEY_LOOKUP_PREFIX_INVALID");
});

test("however lookup prefixes are chosen, no text has more than three that it begins with", () => {
  const digits = fc.constantFrom("a", "b");
  const prefixes = fc
    .array(digits, { minLength: 8, maxLength: 14 })
    .map((rest) => rest.join("").replace(/^.{6}/, "aaaaaa"));
  fc.assert(
    fc.property(
      fc.array(prefixes, { maxLength: 40 }),
      fc.array(prefixes, { maxLength: 40 }),
      (first, then) => {
        const taken: string[] = [];
        const fill = (crowd: CrowdCount, wanted: readonly string[]) => {
          for (const each of wanted) {
            if (reasonFor(() => crowd.add(each)) === undefined) {
              taken.push(each);
            }
          }
        };
        fill(new CrowdCount(new Map()), first);
        // What is in the database by then is counted as its statement does.
        const stored = new Map(
          then.map((each) => [
            each,
            taken.filter((other) => other.startsWith(each) || each.startsWith(other)).length,
          ]),
        );
        fill(new CrowdCount(stored), then);
        for (const text of taken) {
          const alike = lookupPrefixesOf(text).flatMap((each) => taken.filter((other) => other === each));
          assert.ok(alike.length <= 3, alike.join(" "));
        }
      },
    ),
  );
});
