import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { FieldRules } from "../../src/gen/buf/validate/validate_pb.ts";
import { startService } from "../support/service.ts";
import { asValues, type Bad, badCalls, undecodable } from "./bad-calls.ts";
import { HALF_PAIRS, OTHER_TYPES } from "./bad-values.ts";
import {
  bytesRules,
  durationRules,
  enumRules,
  int32Rules,
  type Leaf,
  leavesOf,
  listRules,
  mapRules,
  placesIn,
  put,
  rulesOf,
  stringRules,
  valueAt,
} from "./leaves.ts";

const service = await startService();
after(() => service.stop());
const { calls, tryAll, everyField } = await badCalls(service);

test("every field of every request is tried", () => {
  const untried = calls.flatMap(({ method }) =>
    [...leavesOf(method.input)]
      .filter(({ path }) =>
        calls.every((good) => good.method !== method || valueAt(good.body, path) === undefined),
      )
      .map(({ path }) => `${method.name}: ${path.join(".")}`),
  );
  assert.deepEqual([...new Set(untried)], []);
});

/** What is bounded elsewhere: HEADERS_TOO_LARGE, CLIENT_ADDRESS_INVALID, and the reasons of imports. */
const BOUNDED_ELSEWHERE = new Set([
  ...["Authenticate headers.name", "Authenticate headers.value", "Authenticate clientAddress"],
  ...["BatchAuthenticate requests.headers.name", "BatchAuthenticate requests.headers.value"],
  "BatchAuthenticate requests.clientAddress",
  ...["Explain request.headers.name", "Explain request.headers.value", "Explain request.clientAddress"],
  ...["ImportApiKeys keys.hash", "ImportApiKeys keys.lookupPrefix"],
  "ImportUsers users.passwordHash",
]);

test("every text, every list and every number has a most that the contract tells", () => {
  const hasMost = (rules: FieldRules | undefined) => {
    const text = stringRules(rules);
    const isText = text && (text.maxLen > 0n || text.maxBytes > 0n || text.wellKnown.case !== undefined);
    // A label: `{0,11}`.
    return isText || /\{\d+,\d+\}\$$/.test(text?.pattern ?? "");
  };
  const isBounded = ({ desc, kind, rules, isList }: Leaf) => {
    const map = mapRules(rules);
    const bounded = {
      string: () => hasMost(rules),
      bytes: () => (bytesRules(rules)?.maxLen ?? 0n) > 0n,
      map: () => (map?.maxPairs ?? 0n) > 0n && hasMost(map?.keys) && hasMost(map?.values),
      int32: () => int32Rules(rules)?.lessThan.case !== undefined,
      duration: () => durationRules(rules)?.lessThan.case !== undefined,
      enum: () => enumRules(rules)?.definedOnly === true,
      bool: () => true,
      timestamp: () => rules?.type.case === "timestamp",
    }[kind]();
    return bounded && (!isList || (listRules(rulesOf(desc))?.maxItems ?? 0n) > 0n);
  };
  const endless = calls.flatMap(({ method }) =>
    [...leavesOf(method.input)]
      .filter((leaf) => !isBounded(leaf))
      .map(({ path }) => `${method.name} ${path.join(".")}`)
      .filter((name) => !BOUNDED_ELSEWHERE.has(name)),
  );
  assert.deepEqual([...new Set(endless)], []);
});

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

everyField("half of a surrogate pair is refused, for it has no form in UTF-8", (leaf) =>
  undecodable(HALF_PAIRS.flatMap((text) => asValues(leaf, text))),
);

describe("of things that exclude each other one is said, or none", () => {
  for (const good of calls) {
    const all = calls.filter(({ method }) => method === good.method);
    const rows = [...placesIn(good.method.input)].flatMap(({ parent, message }) =>
      message.oneofs
        .filter(({ fields }) => fields.length > 1)
        .map(({ name, fields }): Bad => {
          const body = fields.reduce((body, { jsonName }) => {
            const path = [...parent, jsonName];
            const value = all.map((other) => valueAt(other.body, path)).find((each) => each !== undefined);
            return put(body, path, value ?? assert.fail(`a good call sets ${path.join(".")}`));
          }, good.body);
          return { name, good, body, outcome: "invalid_argument" };
        }),
    );
    if (rows.length > 0) {
      test(good.name, () => tryAll(rows));
    }
  }
});
