import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";
import { create, getOption, type JsonValue as Json, type JsonObject } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import type { Reason } from "../../src/errors.ts";
import { field as fieldRules, Ignore } from "../../src/gen/buf/validate/validate_pb.ts";
import { accessRuleOf } from "../../src/server/access-rules.ts";
import { reasonOf } from "../support/refusal.ts";
import { ApiKeyService, ServiceKeyService, startService } from "../support/service.ts";
import { type Leaf, leavesOf, listRules, put, stringRules } from "./leaves.ts";
import { type GoodCall, goodCalls } from "./methods.ts";
import { shown } from "./outcomes.ts";
import { refusals } from "./refusals.ts";

const service = await startService();
after(() => service.stop());
const { assertRefused, call } = await refusals(service);
const calls = await goodCalls(service);
const admin = { authorization: `Bearer ${await service.logIn()}` };
const apiKeys = service.client(ApiKeyService, admin);
const serviceKeys = service.client(ServiceKeyService, admin);

/** The calls with what is wrong in one of their fields. */
function rowsOf(
  { method, path, credential, body }: GoodCall,
  leaf: Leaf,
  values: readonly { readonly value: Json; readonly outcome: string }[],
) {
  return values.map(({ value, outcome }, at) => ({
    name: `${method.name} ${leaf.path.join(".")} ${at}: ${shown(JSON.stringify(value)).slice(0, 80)}`,
    path,
    credential,
    body: put(body, leaf.path, value),
    outcome,
  }));
}

type Bad = ReturnType<typeof rowsOf>[number];
const askWith = ({ path, body, credential }: Bad) => call(path, body, ...credential);

/** A test for each field that the maker knows bad values for. */
function everyField(
  guarantee: string,
  badValues: (leaf: Leaf, good: GoodCall) => readonly { readonly value: Json; readonly outcome: string }[],
): void {
  describe(guarantee, () => {
    for (const good of calls) {
      for (const leaf of leavesOf(good.method.input)) {
        const rows = rowsOf(good, leaf, badValues(leaf, good));
        if (rows.length > 0) {
          test(`${good.method.name}: ${leaf.path.join(".")}`, () => assertRefused(rows, askWith));
        }
      }
    }
  });
}

const invalid = (values: readonly Json[], outcome = "REQUEST_INVALID") =>
  values.map((value) => ({ value, outcome }));
/** Where the call is made in an organization, that has to be known before the rest of the message is looked at. */
const ruleOutcome = (leaf: Leaf, { method }: GoodCall) => {
  const rule = accessRuleOf(method);
  if (leaf.path.join() === "clientAddress") {
    return "CLIENT_ADDRESS_INVALID";
  }
  const isAsked = rule.kind === "permission" && !rule.caller;
  return isAsked && leaf.path.join() === "organizationId" ? "ORGANIZATION_ID_INVALID" : "REQUEST_INVALID";
};
const undecodable = (values: readonly Json[]) =>
  values.map((value) => ({ value, outcome: "invalid_argument" }));

const OPERATORS: readonly JsonObject[] = [
  { $ne: null },
  { $gt: "" },
  { $in: ["a"] },
  { $like: "%" },
  { toString: "x" },
];
/** What JSON may hold in the place of each kind, and must not. */
const OTHER_TYPES: Readonly<Record<Leaf["kind"], readonly Json[]>> = {
  string: [5, 0, 1.5, true, false, {}, ...OPERATORS],
  int32: [1.5, "x", "1.5", "", " 1", true, {}, 2 ** 31, -(2 ** 31) - 1, 1e99, "1e99", "NaN", ...OPERATORS],
  bool: [0, 1, "true", "false", "", {}, ...OPERATORS],
  timestamp: [
    ...[0, true, {}, "", "x", "now", "2999-01-01", "2999-01-01T00:00:00", "2999-01-01 00:00:00Z", "12345"],
    ...["10000-01-01T00:00:00Z", "-2999-01-01T00:00:00Z", "2999-13-01T00:00:00Z", "infinity", ...OPERATORS],
  ],
};

everyField("a value of another type is refused, and no operator of a query reaches the database", (leaf) => {
  const others = OTHER_TYPES[leaf.kind];
  return undecodable(
    leaf.isList
      ? [
          "x",
          5,
          true,
          {},
          [[]],
          [null],
          ...others.filter((value) => typeof value === "object"),
          ...others.map((value) => [value]),
        ]
      : [[], ["x"], ...others],
  ).filter(
    ({ value }, at, all) =>
      all.findIndex((other) => JSON.stringify(other.value) === JSON.stringify(value)) === at,
  );
});

const CONTROLS = [
  "\0",
  "a\0b",
  "\r\n",
  "a\nb",
  "\x1b[31m",
  "\x7f",
  "\x85",
  "\u200b",
  "\u202e",
  "\ufeff",
  "\uffff",
];
/** Fields that may say anything, and what comes of nonsense in them. */
const FREE: Readonly<Record<string, Reason | "accepted">> = {
  "Authenticate headers.name": "HEADER_NAME_INVALID",
  "Authenticate headers.value": "CREDENTIAL_MALFORMED",
  "Authenticate requiredPermissions": "PERMISSION_UNKNOWN",
  "Authenticate clientAddress": "CLIENT_ADDRESS_INVALID",
  // Keys are not bound to an audience.
  "Authenticate audience": "accepted",
  "IssueToken password.password": "LOGIN_FAILED",
  // RFC 7009 section 2.2.
  "RevokeToken token": "accepted",
  "CreateApiKey permissions": "PERMISSION_UNKNOWN",
  "CreateServiceKey permissions": "PERMISSION_UNKNOWN",
  "CreateUser password": "PASSWORD_TOO_SHORT",
  "ChangePassword currentPassword": "LOGIN_FAILED",
  "ChangePassword newPassword": "PASSWORD_TOO_SHORT",
};
const freeOutcome = (leaf: Leaf, { method }: GoodCall) =>
  leaf.path.at(-1) === "pageToken" ? "PAGE_TOKEN_INVALID" : FREE[`${method.name} ${leaf.path.join(".")}`];

everyField("a control or a format character is refused", (leaf, good) =>
  leaf.kind === "string"
    ? CONTROLS.map((text) => ({
        value: leaf.isList ? [text] : text,
        outcome: freeOutcome(leaf, good) ?? ruleOutcome(leaf, good),
      }))
    : [],
);

everyField("half of a surrogate pair is refused, for it has no form in UTF-8", (leaf) =>
  leaf.kind === "string"
    ? undecodable(
        ["\ud800", "\udfff", "a\ud83dz", "\udd11\ud83d"].map((text) => (leaf.isList ? [text] : text)),
      )
    : [],
);

const someUuid = "0190a5b2-7c1e-7000-8000-0123456789ab";
const NO_UUIDS = [
  "x",
  " ",
  "acme",
  `{${someUuid}}`,
  `urn:uuid:${someUuid}`,
  someUuid.replaceAll("-", ""),
  someUuid.slice(1),
  `${someUuid}0`,
  `${someUuid} `,
  ` ${someUuid}`,
  `${someUuid}\n`,
  `${someUuid}\0`,
  someUuid.replace("0190", "019g"),
  "' or true --",
  `${someUuid}' --`,
  "*",
  "null",
  "undefined",
  "__proto__",
  "\uff10".repeat(36),
  "0".repeat(60_000),
];
const NO_EMAILS = [
  "x",
  "@",
  "a@",
  "@b.test",
  "a@b@c.test",
  "a b@c.test",
  "a@b .test",
  "a@b.test ",
  " a@b.test",
  "a@b..test",
  "a@-b.test",
  "a@b_c.test",
  "<a@b.test>",
  "A <a@b.test>",
  "a@b.test,c@d.test",
  "mailto:a@b.test",
  "a@[1.2.3.4]x",
  // A fullwidth letter would be folded into the plain one.
  "\uff41dmin@acme.test",
  "admin@\uff41cme.test",
  "\u0430dmin@acme.test",
  `${"a".repeat(245)}@acme.test`,
  "",
];
const NO_RANGES = [
  "",
  "x",
  "/",
  "/24",
  "203.0.113.0",
  "203.0.113.0/",
  "203.0.113.0/33",
  "203.0.113.0/-1",
  "203.0.113.0/024",
  "203.0.113.0/+24",
  "203.0.113.0/24 ",
  " 203.0.113.0/24",
  "203.0.113.0/24/24",
  "203.0.113/24",
  "203.0.113.0/2\uff14",
  "0x7f.0.0.0/8",
  "0177.0.0.0/8",
  "256.0.0.0/8",
  "203.0.113.0/255.255.255.0",
  "localhost/8",
  "2001:db8::/129",
  "2001:db8::/-1",
  "2001:db8::/032",
  "fe80::%eth0/64",
  "[2001:db8::]/32",
  ":::/0",
  "1:2:3:4:5:6:7:8:9/64",
];
/** Each is the address of a host, not of a network. */
const HOST_BITS = [
  ...Array.from({ length: 32 }, (_, length) => `203.0.113.1/${length}`),
  ...Array.from({ length: 128 }, (_, length) => `2001:db8::1/${length}`).filter(
    (_, length) => length % 8 === 0,
  ),
  "::ffff:203.0.113.1/120",
];

everyField("what breaks the rule beside its field is refused", (leaf, good) => {
  const rules = stringRules(leaf.rules);
  const values: Json[] = [];
  if (leaf.kind === "int32") {
    return invalid([-1, 251, "251", 2 ** 31 - 1, -(2 ** 31)]);
  }
  if (leaf.kind === "timestamp") {
    return invalid([
      "1970-01-01T00:00:00Z",
      "0001-01-01T00:00:00Z",
      "2020-01-01T00:00:00+14:00",
      "9999-12-31T23:59:59.999999999Z",
      new Date(Date.now() - 1).toISOString(),
    ]);
  }
  if (rules === undefined) {
    return [];
  }
  const wellKnown = {
    uuid: NO_UUIDS,
    email: NO_EMAILS,
    ipPrefix: [...NO_RANGES, ...HOST_BITS],
    // CLIENT_ADDRESS_INVALID: see bad-keys.test.ts.
    ip: [],
    ipWithPrefixlen: [],
  };
  values.push(...(rules.wellKnown.case === undefined ? [] : wellKnown[rules.wellKnown.case]));
  if (rules.maxLen > 0n) {
    values.push("a".repeat(Number(rules.maxLen) + 1));
  }
  if (rules.maxBytes > 0n) {
    values.push("\u20ac".repeat(Math.ceil((Number(rules.maxBytes) + 1) / 3)));
  }
  const ignoresEmpty = leaf.rules?.ignore === Ignore.IF_ZERO_VALUE;
  if (
    !ignoresEmpty &&
    (rules.minLen > 0n || rules.wellKnown.case === "uuid" || /\+\$$/.test(rules.pattern))
  ) {
    values.push("");
  }
  return invalid(leaf.isList ? values.map((value) => [value]) : values, ruleOutcome(leaf, good));
});

function without(body: JsonObject, name: string): JsonObject {
  return Object.fromEntries(Object.entries(body).filter(([other]) => other !== name));
}

const NO_NAMES = [" ", " a", "a ", "\ta", "a\t", "\u00a0a", "a\u3000", "\u2003", "\u0301\u200d"];

describe("a name is what people can read", () => {
  for (const { method, path, credential, body } of calls.filter(({ body: { name } }) => name !== undefined)) {
    test(method.name, async () => {
      const own =
        method.name === "CreateServiceKey" ? ["A", "a b", "-a", "_a", ".a", "a/b", "\u00e4", "a:b"] : [];
      const rows = [...NO_NAMES, ...own, undefined].map((name) => ({
        name: `"${shown(name ?? "absent")}"`,
        message: name === undefined ? without(body, "name") : { ...body, name },
        outcome: "REQUEST_INVALID",
      }));
      await assertRefused(rows, ({ message }) => call(path, message, ...credential));
    });
  }
});

describe("a list is as long as its rule says, and says nothing twice where that has no sense", () => {
  for (const good of calls) {
    for (const leaf of leavesOf(good.method.input)) {
      const rules = listRules(getOption(leaf.desc, fieldRules));
      const value = leaf.path.length === 1 ? good.body[leaf.path[0] ?? ""] : undefined;
      if (rules === undefined || !Array.isArray(value)) {
        continue;
      }
      const [first = null] = value;
      const tooMany = Array.from({ length: Number(rules.maxItems) + 1 }, (_, at) =>
        String(first).includes("/") ? `10.0.${at}.0/24` : `calls.n${at}`,
      );
      const bad: Json[] = [
        ...(rules.maxItems > 0n ? [tooMany] : []),
        ...(rules.unique ? [[first, first]] : []),
        ...(rules.minItems > 0n ? [[]] : []),
      ];
      test(`${good.method.name}: ${leaf.path.join(".")}`, () =>
        assertRefused(rowsOf(good, leaf, invalid(bad)), askWith));
    }
  }
});

test("an end is a moment that the calendar has: in the future, before the year 10000", async () => {
  const now = BigInt(Math.floor(Date.now() / 1000));
  const latest = 253_402_300_799n;
  const moments = [
    ...[0n, -1n, 1n, now - 1n, -(2n ** 63n), -62_135_596_801n].map((seconds) => ({ seconds, nanos: 0 })),
    ...[latest + 1n, 2n ** 53n, 2n ** 62n, 2n ** 63n - 1n].map((seconds) => ({ seconds, nanos: 0 })),
    { seconds: latest, nanos: 1 },
    { seconds: latest, nanos: 999_999_999 },
    // Timestamp: "Must be from 0 to 999,999,999 inclusive".
    ...[-1, -999_999_999, -(2 ** 31), 1_000_000_000, 2 ** 31 - 1].map((nanos) => ({
      seconds: now + 86_400n,
      nanos,
    })),
    { seconds: latest, nanos: -1 },
    { seconds: 0n, nanos: 2 ** 31 - 1 },
  ];
  const makers = [
    {
      name: "CreateApiKey",
      make: (end: object) => apiKeys.createApiKey({ name: "x", permissions: ["calls.read"], ...end }),
    },
    {
      name: "CreateServiceKey",
      make: (end: object) => serviceKeys.createServiceKey({ name: randomUUID(), ...end }),
    },
  ];
  const rows = makers.flatMap(({ name, make }) =>
    moments.map((moment) => ({
      name: `${name} ${moment.seconds} s ${moment.nanos} ns`,
      outcome: "REQUEST_INVALID",
      ask: () => reasonOf(make({ expireTime: create(TimestampSchema, moment) })),
    })),
  );
  await assertRefused(rows, async ({ ask }) => (await ask()) ?? "accepted");
});

test("every request that the others are made from is itself good", async () => {
  for (const { path, credential, body, method } of calls) {
    assert.equal(await call(path, body, ...credential), "accepted", method.name);
  }
});
