import type { DescField, JsonValue as Json, JsonObject } from "@bufbuild/protobuf";
import { type FieldRules, Ignore } from "../../src/gen/buf/validate/validate_pb.ts";
import {
  boolRules,
  bytesRules,
  durationRules,
  enumOf,
  enumRules,
  int32Rules,
  type Kind,
  type Leaf,
  listRules,
  mapRules,
  rulesOf,
  stringRules,
  timestampRules,
} from "./leaves.ts";

// What may stand in the place of a value on the wire, and must not.

/** Operators of query languages. */
const OPERATORS: readonly JsonObject[] = [
  { $ne: null },
  { $gt: "" },
  { $in: ["a"] },
  { $like: "%" },
  { toString: "x" },
];

const OTHER_SCALARS: readonly Json[] = [0, 5, 1.5, true, false, "", "x"];

/** For each kind, what JSON may hold in its place that is none. */
export const OTHER_TYPES: Readonly<Record<Kind, readonly Json[]>> = {
  string: [5, 0, 1.5, true, false, {}, ...OPERATORS],
  int32: [1.5, "x", "1.5", "", " 1", true, {}, 2 ** 31, -(2 ** 31) - 1, 1e99, "1e99", "NaN", ...OPERATORS],
  bool: [0, 1, "true", "false", "", {}, ...OPERATORS],
  bytes: [0, 5, true, {}, "!", "a!b", "A", "AAAAA", "\u00e9", "\0", "AA\u200b", "%41", ...OPERATORS],
  timestamp: [
    ...[0, true, {}, "", "x", "now", "2999-01-01", "2999-01-01T00:00:00", "2999-01-01 00:00:00Z", "12345"],
    ...["10000-01-01T00:00:00Z", "-2999-01-01T00:00:00Z", "2999-13-01T00:00:00Z", "infinity", ...OPERATORS],
  ],
  duration: [
    ...[0, 60, true, {}, "", "x", "60", "s", "60m", "1h", "1e3s", "0x10s", " 60s", "+60s", ".5s", "PT60S"],
    ...["60.s", "60.1234567890s", "315576000001s", "-315576000001s", "NaNs", "infinity"],
    ...[{ seconds: 60 }, ...OPERATORS],
  ],
  enum: [
    ...[1.5, true, {}, "", "x", "1", "0", "active", "ACTIVE", "__proto__", "constructor", "toString"],
    ...[2 ** 31, -(2 ** 31) - 1, 1e99, ...OPERATORS],
  ],
  map: [
    ...OTHER_SCALARS,
    ...[[], ["x"], [{ key: "a", value: "x" }]],
    ...[null, 0, 1.5, true, {}, [], { $ne: null }].map((value) => ({ a: value })),
    ...["__proto__", "constructor"].map((name) => JSON.parse(`{"${name}":{"isAdmin":true}}`)),
  ],
};

/** Characters that no name has: what a terminal, a log or a reader would take for something else. */
export const CONTROLS = [
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

export const HALF_PAIRS = ["\ud800", "\udfff", "a\ud83dz", "\udd11\ud83d"];

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
const WELL_KNOWN = {
  uuid: NO_UUIDS,
  email: NO_EMAILS,
  ipPrefix: [...NO_RANGES, ...HOST_BITS],
  // CLIENT_ADDRESS_INVALID: see bad-keys.test.ts.
  ip: [],
  ipWithPrefixlen: [],
};
/** Each breaks some pattern of a name or a label. */
const UNUSUAL = [
  ...["", " ", " a", "a ", "\ta", "\u00a0a", "a\u3000", "\u2003", "a b", "A", "1", "-", "_", ".", "-a", "_a"],
  ...[".a", "a.", "a..b", "a/b", "a:b", "a=b", "a,b", "a*", "*", "%", "a;b", "a'b", 'a"b', "a\\b", "a\u0301"],
  ...["\u00e4", "\u0430", "\uff41", "\u0131", "\ud83d\udd11", "__proto__", "a.1", "a.B"],
];

/** The values of one field that break the rule beside it. */
export function ruleBreaking(leaf: Leaf): readonly Json[] {
  const values = breakingOf(leaf);
  return leaf.isList ? values.map((value) => [value]) : values;
}

function breakingOf(leaf: Leaf): readonly Json[] {
  switch (leaf.kind) {
    case "string":
      return breakingTexts(leaf.rules);
    case "int32":
      return breakingNumbers(leaf.rules);
    case "bool":
      return boolRules(leaf.rules)?.const === true ? [false] : [];
    case "bytes": {
      const { maxLen } = bytesRules(leaf.rules) ?? {};
      return maxLen === undefined ? [] : [Buffer.alloc(Number(maxLen) + 1, 1).toString("base64")];
    }
    case "timestamp":
      return [
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        // What has been is asked for, and does not end then.
        ...(timestampRules(leaf.rules)?.greaterThan.case === "gtNow"
          ? ["2020-01-01T00:00:00+14:00", new Date(Date.now() - 1).toISOString()]
          : []),
      ];
    case "duration": {
      const rules = durationRules(leaf.rules);
      const most = rules?.lessThan.case === "lte" ? Number(rules.lessThan.value.seconds) : undefined;
      return [
        ...(most === undefined ? [] : [`${most + 1}s`, `${most}.000000001s`, "315576000000s"]),
        ...(rules?.greaterThan.case === "gte" ? ["-1s", "-0.000000001s", "-315576000000s"] : []),
      ];
    }
    case "enum": {
      const { definedOnly, notIn = [] } = enumRules(leaf.rules) ?? {};
      const names = enumOf(leaf).values.filter(({ number }) => notIn.includes(number));
      return [
        ...(definedOnly ? [99, -1, 2 ** 31 - 1, -(2 ** 31)] : []),
        ...notIn,
        ...names.map(({ name }) => name),
        ...(notIn.includes(0) ? [null] : []),
      ];
    }
    case "map": {
      const { maxPairs = 0n, keys, values } = mapRules(leaf.rules) ?? {};
      const tooMany = Array.from({ length: Number(maxPairs) + 1 }, (_, at) => [`n${at}`, "x"]);
      return [
        Object.fromEntries(tooMany),
        ...breakingTexts(keys).map((name) => Object.fromEntries([[name, "x"]])),
        ...breakingTexts(values).map((value) => ({ a: value })),
      ];
    }
  }
}

function breakingTexts(fieldRules: FieldRules | undefined): string[] {
  const rules = stringRules(fieldRules);
  if (rules === undefined) {
    return [];
  }
  const { wellKnown, maxLen, maxBytes, minLen, pattern } = rules;
  const expression = new RegExp(pattern, "u");
  const values = [
    ...(wellKnown.case === undefined ? [] : WELL_KNOWN[wellKnown.case]),
    ...(maxLen > 0n ? ["a".repeat(Number(maxLen) + 1), "\ud83d\udd11".repeat(Number(maxLen) + 1)] : []),
    ...(maxBytes > 0n ? ["\u20ac".repeat(Math.ceil((Number(maxBytes) + 1) / 3))] : []),
    ...(minLen > 0n || wellKnown.case === "uuid" ? [""] : []),
    ...UNUSUAL.filter((text) => !expression.test(text)),
  ];
  const mayBeEmpty = fieldRules?.ignore === Ignore.IF_ZERO_VALUE;
  return [...new Set(values)].filter((text) => text !== "" || !mayBeEmpty);
}

function breakingNumbers(fieldRules: FieldRules | undefined): Json[] {
  const rules = int32Rules(fieldRules);
  const most = rules?.lessThan.case === "lte" ? rules.lessThan.value : undefined;
  const least = rules?.greaterThan.case === "gte" ? rules.greaterThan.value : undefined;
  return [
    ...(most === undefined ? [] : [most + 1, String(most + 1), 2 ** 31 - 1]),
    ...(least === undefined ? [] : [least - 1, String(least - 1), -(2 ** 31)]),
  ];
}

/** As many different texts as asked, each as good as the one given. */
function manyLike(text: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) =>
    text.includes("/") ? `10.${at >> 8}.${at & 255}.0/24` : `${text.slice(0, 40)}${at === 0 ? "" : at}`,
  );
}

/** Lists that are longer or shorter than the rule beside their field says, or say something twice. */
export function badLists(desc: DescField, good: Json | undefined): Json[] {
  const rules = listRules(rulesOf(desc));
  if (rules === undefined || !Array.isArray(good)) {
    return [];
  }
  const first = String(good[0]);
  return [
    ...(rules.maxItems > 0n ? [manyLike(first, Number(rules.maxItems) + 1)] : []),
    ...(rules.unique ? [[first, first]] : []),
    ...(rules.minItems > 0n ? [[]] : []),
  ];
}
