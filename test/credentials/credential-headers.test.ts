import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type HeaderField, readCredentialHeaders } from "../../src/credentials/credential-headers.ts";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { AuthError } from "../../src/errors.ts";
import { readPlainly } from "./plain-header-rules.ts";

const ORGANIZATION = "0198b7f2-1111-7aaa-8bbb-0123456789ab";
const CREDENTIAL_NAMES = ["x-api-key", "x-internal-key", "authorization"] as const;
const GUARDED_NAMES = [...CREDENTIAL_NAMES, "x-org-id"];

const inAnyCase = (name: string) =>
  fc
    .array(fc.boolean(), { minLength: name.length, maxLength: name.length })
    .map((upper) => [...name].map((letter, at) => (upper[at] ? letter.toUpperCase() : letter)).join(""));

/** A name that is another one to HTTP, and the same to a server that folds names. */
const aliasOf = (name: string) =>
  fc
    .tuple(inAnyCase(name), fc.array(fc.constantFrom(..."-_.~!#$%&'*+^`|"), { minLength: 8, maxLength: 8 }))
    .map(([text, marks]) => text.replaceAll("-", () => marks.pop() ?? "_"))
    .filter((text) => text.toLowerCase() !== name);

const guardedNames = fc.constantFrom(...GUARDED_NAMES).chain(inAnyCase);
const aliases = fc.constantFrom("x-api-key", "x-internal-key", "x-org-id").chain(aliasOf);
const identityNames = fc
  .stringMatching(/^[a-z0-9-]{0,8}$/)
  .map((rest) => `x-latchkey-${rest}`)
  .chain((name) => fc.oneof(inAnyCase(name), aliasOf(name)));
const unrelatedNames = fc
  .oneof(
    fc.constantFrom(
      "accept",
      "cookie",
      ":path",
      ":authority",
      "x-api-key-id",
      "x-apikey",
      "api-key",
      "x-latchkey",
    ),
    fc.constantFrom(
      "authorization-",
      "proxy-authorization",
      "x-authorization",
      "x-api-key-bin",
      "x-org",
      "xapikey",
    ),
    fc.stringMatching(/^:?[a-z0-9!#$%&'*+.^_`|~-]{1,20}$/),
  )
  .chain(inAnyCase)
  .filter((name) => {
    const folded = name.toLowerCase().replaceAll(/[^a-z0-9]/g, "-");
    return !GUARDED_NAMES.includes(folded) && !folded.startsWith("x-latchkey-");
  });
const brokenNames = fc.oneof(
  fc.constantFrom("", ":", "::path", "x api key", "x-api-key ", " x-api-key", "x-api-key:", "x-api-key\r\n"),
  fc.constantFrom(
    "x-api-\u212aey",
    "x\u2010api\u2010key",
    "authorization\0",
    "a:b",
    "caf\u00e9",
    "a(b",
    '"a"',
  ),
  fc
    .string({ unit: "binary", minLength: 1 })
    .filter((name) => !/^:?[\x21\x23-\x27*+.^_`|~0-9A-Za-z-]+$/.test(name)),
);

const space = fc.stringMatching(/^[ \t]{0,3}$/);
const texts = fc.oneof(
  fc.constantFrom("", "ak_1", "eyJ.e30.c2ln", ORGANIZATION, ORGANIZATION.toUpperCase()),
  fc.constant(null).map(() => mintKey("ak").text),
  fc.stringMatching(/^[\x21-\x2b\x2d-\x7e]{1,12}$/),
);
const brokenTexts = fc.oneof(
  fc.constantFrom(
    "a b",
    "a\tb",
    "a\r\n",
    "a\n",
    "\0",
    "a\0b",
    "\x7f",
    "\u00e9",
    "\u3042",
    "\u2028",
    "a,b",
    ",",
    "a,",
  ),
  fc.constantFrom(`${ORGANIZATION}, ${ORGANIZATION}`, `${ORGANIZATION}x`, ORGANIZATION.replaceAll("-", "")),
  fc.string({ unit: "binary" }),
);
const schemes = fc.constantFrom(
  "Bearer",
  "bearer",
  "BEARER",
  "BeArEr",
  "Basic",
  "Digest",
  "Bearers",
  "Bear",
  "",
);
const values = fc.oneof(
  fc
    .tuple(space, fc.oneof({ weight: 4, arbitrary: texts }, brokenTexts), space)
    .map((parts) => parts.join("")),
  fc
    .tuple(
      space,
      schemes,
      fc.constantFrom(" ", "\t", "  ", " \t", "", ","),
      fc.oneof(texts, brokenTexts),
      space,
    )
    .map((parts) => parts.join("")),
  fc
    .array(fc.oneof(schemes, texts, fc.constantFrom(",", " ", "\t", '="bearer"', "=")), { maxLength: 8 })
    .map((parts) => parts.join("")),
);

const fields = (names: fc.Arbitrary<string>) => fc.record({ name: names, value: values });
/** `Connection`, which names other headers. */
const connectionFields = fc.record({
  name: inAnyCase("connection"),
  value: fc
    .array(
      fc.oneof(fc.constantFrom("close", "keep-alive", ""), guardedNames, identityNames, unrelatedNames),
      {
        maxLength: 3,
      },
    )
    .map((names) => names.join(", ")),
});
const goodFields = fields(fc.oneof(guardedNames, identityNames, unrelatedNames));
const anyHeaders = fc.array(
  fc.oneof({ weight: 12, arbitrary: goodFields }, connectionFields, fields(aliases), fields(brokenNames)),
  { maxLength: 6 },
);
/** Headers of which most can be read. */
const mostlyGood = fc
  .tuple(
    fc.option(
      fc.record({ name: fc.constantFrom("x-api-key", "x-internal-key").chain(inAnyCase), value: texts }),
    ),
    fc.option(
      fc.record({
        name: inAnyCase("authorization"),
        value: fc.tuple(schemes, texts).map(([scheme, text]) => `${scheme} ${text}`),
      }),
    ),
    fc.option(fc.record({ name: inAnyCase("x-org-id"), value: fc.constant(ORGANIZATION).chain(inAnyCase) })),
    fc.array(fields(fc.oneof(identityNames, unrelatedNames)), { maxLength: 4 }),
  )
  .map(([key, authorization, organization, rest]) =>
    [key, authorization, organization, ...rest].filter((field) => field !== null),
  );
const headerLists = fc.oneof(anyHeaders, mostlyGood);

/** What is read, or why it is refused. */
function outcomeOf(headers: readonly HeaderField[]): unknown {
  try {
    return readCredentialHeaders(headers);
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    return { refused: error.reason };
  }
}

function isRefused(headers: readonly HeaderField[]): boolean {
  try {
    readCredentialHeaders(headers);
    return false;
  } catch {
    return true;
  }
}

test("any headers are read as the rules say, or refused for a reason that the rules give", () => {
  fc.assert(
    fc.property(headerLists, (headers) => {
      const { faults, says } = readPlainly(headers);
      const outcome = outcomeOf(headers);
      if (faults.size === 0) {
        assert.deepEqual(outcome, says);
      } else {
        const reasons = [...faults].map((reason) => JSON.stringify({ refused: reason }));
        assert.ok(reasons.includes(JSON.stringify(outcome)), `${JSON.stringify(outcome)}, not ${reasons}`);
      }
    }),
    { numRuns: 5_000 },
  );
});

test("the order of the headers never changes the outcome", () => {
  const inAnotherOrder = headerLists.chain((headers) =>
    fc.tuple(fc.constant(headers), fc.shuffledSubarray(headers, { minLength: headers.length })),
  );
  fc.assert(
    fc.property(inAnotherOrder, ([headers, shuffled]) => {
      assert.deepEqual(outcomeOf(shuffled), outcomeOf(headers));
    }),
    { numRuns: 3_000 },
  );
});

test("the case of the names never changes the outcome", () => {
  fc.assert(
    fc.property(headerLists, fc.constantFrom("toUpperCase", "toLowerCase"), (headers, change) => {
      // ASCII only: other letters are no part of a name, and some of them become ASCII in the other case.
      const changed = headers.map(({ name, value }) => ({
        name: name.replaceAll(/[a-z]/gi, (letter) => letter[change]()),
        value,
      }));
      assert.deepEqual(outcomeOf(changed), outcomeOf(headers));
    }),
    { numRuns: 3_000 },
  );
});

test("an unrelated header never changes the outcome, wherever it stands", () => {
  fc.assert(
    fc.property(headerLists, fields(unrelatedNames), fc.nat(), (headers, field, at) => {
      assert.deepEqual(outcomeOf(headers.toSpliced(at % (headers.length + 1), 0, field)), outcomeOf(headers));
    }),
    { numRuns: 3_000 },
  );
});

test("a second credential is always refused, whatever it is and wherever it stands", () => {
  const carriers = fc.oneof(
    fields(fc.constantFrom("x-api-key", "x-internal-key").chain(inAnyCase)),
    fc.record({ name: inAnyCase("authorization"), value: values.map((value) => `Bearer ${value}`) }),
  );
  fc.assert(
    fc.property(mostlyGood, carriers, fc.nat(), (headers, second, at) => {
      fc.pre(readPlainly(headers).says.credential !== undefined);
      assert.ok(isRefused(headers.toSpliced(at % (headers.length + 1), 0, second)));
    }),
    { numRuns: 2_000 },
  );
});

test("a credential header that occurs twice is refused, also where both are alike or hold nothing of ours", () => {
  const twice = fc.constantFrom(...GUARDED_NAMES).chain((name) => fc.tuple(inAnyCase(name), inAnyCase(name)));
  fc.assert(
    fc.property(
      twice,
      fc.oneof(values, fc.constant("Basic dTpw")),
      fc.array(fields(unrelatedNames)),
      (names, value, rest) => {
        const [first, second] = names.map((name) => ({ name, value }));
        assert.ok(first && second);
        assert.ok(isRefused([first, ...rest, second]));
      },
    ),
  );
});

test("whatever is added to headers that are refused, they stay refused", () => {
  fc.assert(
    fc.property(anyHeaders, goodFields, fc.nat(), (headers, field, at) => {
      fc.pre(isRefused(headers));
      assert.ok(isRefused(headers.toSpliced(at % (headers.length + 1), 0, field)));
    }),
    { numRuns: 2_000 },
  );
});

test("a name that a folding server takes for a credential header is refused, whatever it carries", () => {
  fc.assert(
    fc.property(mostlyGood, aliases, values, fc.nat(), (headers, name, value, at) => {
      fc.pre(!isRefused(headers));
      const withAlias = headers.toSpliced(at % (headers.length + 1), 0, { name, value });
      assert.deepEqual(outcomeOf(withAlias), { refused: "CREDENTIAL_HEADER_ALIAS" });
    }),
    { numRuns: 1_000 },
  );
});

test("a Connection header that would have the next hop drop a credential or an identity is refused", () => {
  for (const option of [...GUARDED_NAMES, "X-Latchkey-Principal", "x_latchkey_user"]) {
    for (const value of [
      option,
      option.toUpperCase(),
      `close, ${option}`,
      `${option} ,close`,
      `\t${option}`,
    ]) {
      const headers = [
        { name: "X-API-Key", value: "ak_1" },
        { name: "connection", value },
      ];
      assert.deepEqual(outcomeOf(headers), { refused: "CREDENTIALS_AMBIGUOUS" }, value);
    }
  }
  const harmless = { name: "Connection", value: "close, upgrade, x-api-key-id" };
  assert.ok(!isRefused([{ name: "X-API-Key", value: "ak_1" }, harmless]));
});

test("Authorization of another scheme is no credential, and goes on to whoever it is for", () => {
  const others = [
    "Basic dTpw",
    'Digest username="bearer", realm="a"',
    "Negotiate YII=",
    "Bearers a",
    "",
    "Basic",
  ];
  for (const value of others) {
    const { credential, strip } = readCredentialHeaders([{ name: "Authorization", value }]);
    assert.equal(credential, undefined);
    assert.ok(!strip.includes("authorization"));
  }
  const beside = [
    { name: "Authorization", value: "Basic dTpw" },
    { name: "X-API-Key", value: "ak_1" },
  ];
  assert.deepEqual(readCredentialHeaders(beside).credential, { kind: "api_key", text: "ak_1" });
});

test("what to remove is one of two lists that never change, unless a header carries an identity", () => {
  const stripOf = (headers: readonly HeaderField[]) => readCredentialHeaders(headers).strip;
  const known = [stripOf([]), stripOf([{ name: "authorization", value: "Bearer a" }])];
  assert.ok(known.every((strip) => Object.isFrozen(strip)));
  fc.assert(
    fc.property(mostlyGood, (headers) => {
      fc.pre(!isRefused(headers));
      const hasIdentity = headers.some(({ name }) => /^x[^a-z0-9]latchkey[^a-z0-9]/i.test(name));
      assert.equal(known.includes(stripOf(headers)), !hasIdentity);
    }),
  );
});

test("an edge is told to remove every credential header that is there", () => {
  fc.assert(
    fc.property(mostlyGood, (headers) => {
      fc.pre(!isRefused(headers));
      const { strip } = readCredentialHeaders(headers);
      for (const { name, value } of headers) {
        const isCredential = name.toLowerCase() !== "authorization" || /^bearer /i.test(value);
        if (isCredential && GUARDED_NAMES.includes(name.toLowerCase())) {
          assert.ok(strip.includes(name.toLowerCase()), `${name}: ${value} stays`);
        }
      }
    }),
    { numRuns: 1_000 },
  );
});

test("an edge is told to remove every identity header that a client may have forged, and its aliases", () => {
  fc.assert(
    fc.property(mostlyGood, identityNames, values, (headers, name, value) => {
      fc.pre(!isRefused(headers));
      assert.ok(readCredentialHeaders([...headers, { name, value }]).strip.includes(name.toLowerCase()));
    }),
    { numRuns: 1_000 },
  );
});

test("an edge is never told to remove a header that is none of Latchkey's", () => {
  fc.assert(
    fc.property(mostlyGood, fields(unrelatedNames), (headers, field) => {
      fc.pre(!isRefused(headers));
      const { strip } = readCredentialHeaders([...headers, field]);
      assert.ok(!strip.includes(field.name.toLowerCase()));
    }),
  );
});

test("256 headers and 48 KiB are read, and one more of either is refused", () => {
  const header = (bytes: number) => ({ name: "a", value: "\u00e9".repeat(Math.floor((bytes - 1) / 2)) });
  const list = (length: number) => Array.from({ length }, () => ({ name: "a", value: "" }));
  assert.ok(!isRefused(list(256)));
  assert.deepEqual(outcomeOf(list(257)), { refused: "HEADERS_TOO_LARGE" });
  // Bytes, not characters.
  assert.ok(!isRefused([header(48 * 1024 - 1)]));
  assert.ok(!isRefused([{ name: "a", value: "b".repeat(48 * 1024 - 1) }]));
  assert.deepEqual(outcomeOf([{ name: "a", value: "b".repeat(48 * 1024) }]), {
    refused: "HEADERS_TOO_LARGE",
  });
  assert.deepEqual(outcomeOf([header(48 * 1024 + 1)]), { refused: "HEADERS_TOO_LARGE" });
});

// Each of these, read in time that grows with the square of its length, would take seconds: all, minutes.
test("the largest values are read like small ones, however they are made", { timeout: 30_000 }, () => {
  const units = [
    " ",
    "\t",
    ",",
    " ,",
    "bearer",
    "bearer ",
    "bearer,",
    ", bearer",
    "Bearer a",
    ", b",
    "a",
    "b\t",
  ];
  for (const unit of units) {
    const run = unit.repeat(Math.floor((24 * 1024 - 64) / unit.length));
    for (const name of GUARDED_NAMES) {
      for (const value of [
        `${run}x`,
        `x${run}`,
        `Bearer ${run}`,
        `Basic ${run}x`,
        `${run}x${run}`,
        `,${run}x`,
      ]) {
        const { faults, says } = readPlainly([{ name, value }]);
        const outcome = outcomeOf([{ name, value }]);
        const [fault] = faults;
        assert.deepEqual(outcome, faults.size === 0 ? says : { refused: fault }, `${name}, of ${unit}`);
      }
    }
  }
});
