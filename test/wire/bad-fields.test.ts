import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";
import {
  create,
  type DescField,
  getOption,
  type JsonValue as Json,
  type JsonObject,
} from "@bufbuild/protobuf";
import { DurationSchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import type { Reason } from "../../src/errors.ts";
import { oneof as oneofRules } from "../../src/gen/buf/validate/validate_pb.ts";
import {
  ImportMode,
  ImportOutcome,
  KeyAlphabet,
  KeyHashAlgorithm,
} from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { accessRuleOf } from "../../src/server/access-rules.ts";
import { query } from "../support/cluster.ts";
import { reasonOf } from "../support/refusal.ts";
import { ApiKeyService, ServiceKeyService, startService } from "../support/service.ts";
import { asValues, type Bad, badCalls, fieldsOf, invalid, rowsOf } from "./bad-calls.ts";
import { badLists, CONTROLS, ruleBreaking } from "./bad-values.ts";
import { type Leaf, placesIn, put, rulesOf, valueAt, without } from "./leaves.ts";
import type { GoodCall } from "./methods.ts";
import { shown } from "./outcomes.ts";

const service = await startService();
after(() => service.stop());
const { calls, call, tryAll, assertRefused, everyField } = await badCalls(service);
const admin = { authorization: `Bearer ${await service.logIn()}` };
const apiKeys = service.client(ApiKeyService, admin);
const serviceKeys = service.client(ServiceKeyService, admin);

/** Where the call is made in an organization, that has to be known before the rest of the message is looked at. */
const ruleOutcome = ({ path }: Leaf, { method, body }: GoodCall, value?: Json) => {
  const rule = accessRuleOf(method);
  const isProof = ({ name, jsonName }: DescField) =>
    rule.kind === "permission" && rule.possessionFields.includes(name) && jsonName in body;
  const isAsked = rule.kind === "permission" && !rule.caller && !method.input.fields.some(isProof);
  // One that is empty names nothing.
  const isNamed = isAsked && path.join() === "organizationId" && value !== "";
  return isNamed ? "ORGANIZATION_ID_INVALID" : "REQUEST_INVALID";
};
/** Fields that may say anything, and what comes of nonsense in them. */
const FREE: Readonly<Record<string, Reason | "accepted">> = {
  "Authenticate headers.name": "HEADER_NAME_INVALID",
  "Authenticate headers.value": "CREDENTIAL_MALFORMED",
  "Authenticate requiredPermissions": "PERMISSION_UNKNOWN",
  "Authenticate anyPermissions": "PERMISSION_UNKNOWN",
  "Authenticate clientAddress": "CLIENT_ADDRESS_INVALID",
  "Authenticate minRevision": "REVISION_INVALID",
  // Keys are not bound to an audience.
  "Authenticate audience": "accepted",
  "BatchAuthenticate requests.headers.name": "HEADER_NAME_INVALID",
  "BatchAuthenticate requests.headers.value": "CREDENTIAL_MALFORMED",
  "BatchAuthenticate requests.requiredPermissions": "PERMISSION_UNKNOWN",
  "BatchAuthenticate requests.anyPermissions": "PERMISSION_UNKNOWN",
  "BatchAuthenticate requests.clientAddress": "CLIENT_ADDRESS_INVALID",
  "BatchAuthenticate requests.minRevision": "REVISION_INVALID",
  "BatchAuthenticate requests.audience": "accepted",
  "Explain request.headers.name": "HEADER_NAME_INVALID",
  "Explain request.headers.value": "CREDENTIAL_MALFORMED",
  "Explain request.requiredPermissions": "PERMISSION_UNKNOWN",
  "Explain request.anyPermissions": "PERMISSION_UNKNOWN",
  "Explain request.clientAddress": "CLIENT_ADDRESS_INVALID",
  "Explain request.minRevision": "REVISION_INVALID",
  "Explain request.audience": "accepted",
  "IssueToken password.password": "LOGIN_FAILED",
  "IssueToken refreshToken.refreshToken": "REFRESH_TOKEN_INVALID",
  "IssueToken apiKey.apiKey": "API_KEY_INVALID",
  "IssueToken apiKey.permissions": "PERMISSION_UNKNOWN",
  "IssueToken delegation.permissions": "PERMISSION_UNKNOWN",
  // RFC 7009 section 2.2.
  "RevokeToken token": "accepted",
  "CreateApiKey permissions": "PERMISSION_UNKNOWN",
  "UpdateApiKey permissions.values": "PERMISSION_UNKNOWN",
  "RevokeOwnApiKey apiKey": "API_KEY_INVALID",
  "ImportApiKeys keys.permissions": "PERMISSION_UNKNOWN",
  "ImportApiKeys keys.lookupPrefix": "KEY_LOOKUP_PREFIX_INVALID",
  "ImportUsers users.passwordHash": "PASSWORD_HASH_INVALID",
  "CreateServiceKey permissions": "PERMISSION_UNKNOWN",
  "UpdateServiceKey permissions.values": "PERMISSION_UNKNOWN",
  "CreateRole permissions.values": "PERMISSION_UNKNOWN",
  "UpdateRole permissions.values": "PERMISSION_UNKNOWN",
  "CreateUser password": "PASSWORD_TOO_SHORT",
  "ChangePassword currentPassword": "LOGIN_FAILED",
  "ChangePassword newPassword": "PASSWORD_TOO_SHORT",
  "AcceptMembership password": "PASSWORD_TOO_SHORT",
};
const freeOutcome = ({ path }: Leaf, { method }: GoodCall) =>
  path.at(-1) === "pageToken" ? "PAGE_TOKEN_INVALID" : FREE[`${method.name} ${path.join(".")}`];

everyField("a control or a format character is refused", (leaf, good) =>
  invalid(
    CONTROLS.flatMap((text) => asValues(leaf, text)),
    freeOutcome(leaf, good) ?? ruleOutcome(leaf, good),
  ),
);

everyField("what breaks the rule beside its field is refused", (leaf, good) =>
  ruleBreaking(leaf).map((value) => ({ value, outcome: ruleOutcome(leaf, good, value) })),
);

describe("what a message cannot do without has to be there", () => {
  for (const good of calls) {
    const rows = [...placesIn(good.method.input)].flatMap(({ parent, message }): Bad[] => {
      const fields = message.fields
        .filter((field) => rulesOf(field)?.required)
        .map(({ jsonName }) => [jsonName]);
      const choices = message.oneofs
        .filter((oneof) => getOption(oneof, oneofRules).required)
        .map(({ fields }) => fields.map(({ jsonName }) => jsonName));
      return [...fields, ...choices].flatMap((names) => {
        const paths = names.map((name) => [...parent, name]);
        const bare = paths.reduce(without, good.body);
        return [
          { name: `no ${names}`, good, body: bare, outcome: "REQUEST_INVALID" },
          ...paths.map((path) => ({
            name: `${path.at(-1)}: null`,
            good,
            body: put(bare, path, null),
            outcome: "REQUEST_INVALID",
          })),
        ];
      });
    });
    if (rows.length > 0) {
      test(good.name, () => tryAll(rows));
    }
  }
});

describe("fields that depend on each other agree", () => {
  const hashing = (algorithm: string, hmacSecret?: string) => ({
    method: "ImportApiKeys",
    path: ["hashing"],
    value: { algorithm: `KEY_HASH_ALGORITHM_${algorithm}`, ...(hmacSecret !== undefined && { hmacSecret }) },
  });
  const permissions = ["UpdateApiKey", "UpdateServiceKey"].flatMap((method) =>
    [{}, { values: [] }].map((value) => ({ method, path: ["permissions"], value })),
  );
  const plain = ["SHA256", "SHA512", "BCRYPT", "SCRYPT", "ARGON2"];
  const keyed = ["HMAC_SHA256", "HMAC_SHA512"];
  const bad: readonly { method: string; path: string[]; value: JsonObject }[] = [
    ...permissions,
    ...plain.map((algorithm) => hashing(algorithm, "c2VjcmV0")),
    ...keyed.flatMap((algorithm) => [hashing(algorithm), hashing(algorithm, "")]),
  ];
  for (const [at, { method, path, value }] of bad.entries()) {
    const good = calls.find(({ name }) => name === method) ?? assert.fail(method);
    test(`${at} ${method}: ${JSON.stringify(value)}`, () => tryAll(rowsOf(good, path, invalid([value]))));
  }
});

const NO_NAMES = [" ", " a", "a ", "\ta", "a\t", "\u00a0a", "a\u3000", "\u2003", "\u0301\u200d"];

describe("a name is what people can read", () => {
  const OWN: Readonly<Record<string, readonly string[]>> = {
    CreateServiceKey: ["A", "a b", "-a", "_a", ".a", "a/b", "\u00e4", "a:b"],
    CreateRole: ["A", "1a", "-a", "_a", "a b", "a.b", "a/b", "\u00e4", "*"],
    UpdateRole: ["A", "1a", "-a", "_a", "a b", "a.b", "a/b", "\u00e4", "*"],
    DefinePermission: [
      "a",
      "a.",
      ".a",
      "a..b",
      "A.b",
      "a.B",
      "a.1",
      "1.a",
      "a-b.c",
      "a.b*",
      "*.a",
      "a.*",
      "*",
    ],
  };
  for (const good of calls.filter(({ body: { name } }) => name !== undefined)) {
    test(good.name, async () => {
      const names = [...NO_NAMES, ...(OWN[good.method.name] ?? [])].map((name) => ({
        name: `"${shown(name)}"`,
        good,
        body: { ...good.body, name },
        outcome: "REQUEST_INVALID",
      }));
      const isOptional = good.method.name.startsWith("Update");
      const absent = { name: "absent", good, body: without(good.body, ["name"]), outcome: "REQUEST_INVALID" };
      await tryAll([...names, ...(isOptional ? [] : [absent])]);
    });
  }
});

describe("a list is as long as its rule says, and says nothing twice where that has no sense", () => {
  for (const good of calls) {
    for (const { desc, path } of fieldsOf(good)) {
      const bad = badLists(desc, valueAt(good.body, path));
      if (bad.length > 0) {
        test(`${good.name}: ${path.join(".")}`, () => tryAll(rowsOf(good, path, invalid(bad))));
      }
    }
  }

  for (const [name, list] of [
    ["ImportApiKeys", "keys"],
    ["ImportUsers", "users"],
  ] as const) {
    test(`${name}: ${list}`, async () => {
      const rows = calls
        .filter(({ method }) => method.name === name)
        .flatMap((good) => rowsOf(good, [list], invalid([[], null, Array(10_001).fill({})])));
      await tryAll(rows);
    });
  }
});

describe("over binary, where a message can say more than JSON", () => {
  const idOf = (made: { readonly id: string } | undefined) => made?.id ?? assert.fail("was made");
  const now = BigInt(Math.floor(Date.now() / 1000));
  const latest = 253_402_300_799n;

  test("an end is a moment that the calendar has: in the future, before the year 10000", async () => {
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
    ].map((moment) => create(TimestampSchema, moment));
    const apiKey = await apiKeys.createApiKey({ name: "x", permissions: ["calls.read"] });
    const serviceKey = await serviceKeys.createServiceKey({ name: randomUUID() });
    const ids = { apiKey: idOf(apiKey.apiKey), serviceKey: idOf(serviceKey.serviceKey) };
    type Moment = (typeof moments)[number];
    const makers: Readonly<Record<string, (end: Moment) => Promise<string | undefined>>> = {
      CreateApiKey: (expireTime) =>
        reasonOf(apiKeys.createApiKey({ name: "x", permissions: ["calls.read"], expireTime })),
      CreateServiceKey: (expireTime) =>
        reasonOf(serviceKeys.createServiceKey({ name: randomUUID(), expireTime })),
      UpdateApiKey: (value) =>
        reasonOf(apiKeys.updateApiKey({ id: ids.apiKey, expiry: { case: "expireTime", value } })),
      UpdateServiceKey: (value) =>
        reasonOf(serviceKeys.updateServiceKey({ id: ids.serviceKey, expiry: { case: "expireTime", value } })),
      ImportApiKeys: async (expireTime) => {
        const { results } = await apiKeys.importApiKeys({
          organizationId: service.organizationId,
          ownerId: service.admin.id,
          format: { prefix: "old_", length: 40, alphabet: KeyAlphabet.BASE62 },
          hashing: { algorithm: KeyHashAlgorithm.SHA256 },
          mode: ImportMode.BEST_EFFORT,
          keys: [{ name: "x", permissions: ["calls.read"], expireTime, hash: new Uint8Array(32).fill(1) }],
        });
        assert.deepEqual(
          results.map(({ outcome }) => outcome),
          [ImportOutcome.REFUSED],
        );
        return results[0]?.reason;
      },
    };
    const rows = Object.entries(makers).flatMap(([name, make]) =>
      moments.map((moment) => ({
        name: `${name} ${moment.seconds} s ${moment.nanos} ns`,
        outcome: "REQUEST_INVALID",
        ask: () => make(moment),
      })),
    );
    await assertRefused(rows, async ({ ask }) => (await ask()) ?? "accepted");
  });

  test("an overlap is a length of time that a duration can be: 0 to 90 days", async () => {
    const most = 7_776_000n;
    const lengths = [
      ...[-1n, most + 1n, 315_576_000_000n, 315_576_000_001n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)].map(
        (seconds) => ({ seconds, nanos: 0 }),
      ),
      { seconds: most, nanos: 1 },
      { seconds: most, nanos: 999_999_999 },
      { seconds: 0n, nanos: -1 },
      { seconds: -1n, nanos: 999_999_999 },
      { seconds: -1n, nanos: 2 ** 31 - 1 },
      // Duration: "Must be from -999,999,999 to +999,999,999 inclusive", and of the same sign as the seconds.
      ...[-1, -999_999_999, -(2 ** 31), 1_000_000_000, 2 ** 31 - 1].map((nanos) => ({ seconds: 60n, nanos })),
    ].map((length) => create(DurationSchema, length));
    const apiKey = await apiKeys.createApiKey({ name: "x", permissions: ["calls.read"] });
    const serviceKey = await serviceKeys.createServiceKey({ name: randomUUID() });
    const ids = { apiKey: idOf(apiKey.apiKey), serviceKey: idOf(serviceKey.serviceKey) };
    const rows = [...lengths, undefined].flatMap((length) => {
      const overlap = length === undefined ? {} : { overlap: length };
      const name = length === undefined ? "no overlap" : `${length.seconds} s ${length.nanos} ns`;
      return [
        {
          name: `RotateApiKey ${name}`,
          ask: () => reasonOf(apiKeys.rotateApiKey({ id: ids.apiKey, ...overlap })),
          outcome: "REQUEST_INVALID",
        },
        {
          name: `RotateServiceKey ${name}`,
          ask: () => reasonOf(serviceKeys.rotateServiceKey({ id: ids.serviceKey, ...overlap })),
          outcome: "REQUEST_INVALID",
        },
      ];
    });
    await assertRefused(rows, async ({ ask }) => (await ask()) ?? "accepted");
  });
});

test("every request that the others are made from is itself good", async () => {
  // The passwords that were tried above are failed logins, and delay those that come after them.
  await query(service.connection, "delete from login_counters");
  for (const { name, path, credential, body } of calls) {
    assert.equal(await call(path, body, ...credential), "accepted", name);
  }
});
