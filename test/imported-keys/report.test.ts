import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { v4 as uuidv4 } from "uuid";
import type { Reason } from "../../src/errors.ts";
import { addOrganization, addServiceKey, addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";
import {
  ImportMode,
  ImportOutcome,
  type ImportRequest,
  importKey,
  importKeys,
  KeyAlphabet,
  KeyHashAlgorithm,
  type KeyInit,
  keyOf,
  OLD_FORMAT,
  oldKey,
  present,
  refusalOf,
  sha256,
} from "./import.ts";

let service: TestService;
let password: Password;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
});
after(() => service.stop());

const { IMPORTED, UNCHANGED, REFUSED, SKIPPED } = ImportOutcome;
const BEST_EFFORT: ImportRequest = { mode: ImportMode.BEST_EFFORT };

interface Counts {
  readonly keys: number;
  readonly hashes: number;
  readonly formats: number;
  /** First uses, which are recorded beside the calls, do not count. */
  readonly events: number;
}

async function written(): Promise<Counts | undefined> {
  const [counts] = await query<Counts>(
    service.connection,
    `select (select count(*)::int from api_keys) as keys, (select count(*)::int from imported_key_hashes) as hashes,
       (select count(*)::int from imported_key_formats) as formats,
       (select count(*)::int from audit_events where action <> 'api_key.rehash') as events`,
  );
  return counts;
}

const epoch = (date: Date) => timestampFromDate(date);
const many = <Value>(count: number, make: (at: number) => Value) =>
  Array.from({ length: count }, (_, at) => make(at));

/** Each way in which a key with a digest can be bad by itself. */
const BAD: readonly (readonly [what: string, Reason, KeyInit])[] = [
  ["no name", "REQUEST_INVALID", { name: "" }],
  ["a name that is too long", "REQUEST_INVALID", { name: "x".repeat(101) }],
  ["a control character in the name", "REQUEST_INVALID", { name: "a\nb" }],
  ["a name that begins with a space", "REQUEST_INVALID", { name: " a" }],
  ["no permission", "REQUEST_INVALID", { permissions: [] }],
  ["a permission twice", "REQUEST_INVALID", { permissions: ["calls.read", "calls.read"] }],
  ["too many permissions", "REQUEST_INVALID", { permissions: many(101, (at) => `calls.x${at}`) }],
  ["an unknown permission", "PERMISSION_UNKNOWN", { permissions: ["calls.read", "calls.unknown"] }],
  ["a permission of the platform", "PERMISSION_UNKNOWN", { permissions: ["platform.users.read"] }],
  ["a pattern for what no pattern reaches", "PERMISSION_UNKNOWN", { permissions: ["auth.*"] }],
  ["an end in the past", "REQUEST_INVALID", { expireTime: epoch(new Date(Date.now() - 1000)) }],
  ["an end beyond time", "REQUEST_INVALID", { expireTime: { seconds: 253402300800n } }],
  [
    "nanoseconds that are none",
    "REQUEST_INVALID",
    { expireTime: { seconds: BigInt(Math.floor(Date.now() / 1000) + 3600), nanos: 1_000_000_000 } },
  ],
  ["an address range with host bits", "REQUEST_INVALID", { allowedCidrs: ["10.0.0.1/8"] }],
  ["no address range at all", "REQUEST_INVALID", { allowedCidrs: ["anywhere"] }],
  ["too many address ranges", "REQUEST_INVALID", { allowedCidrs: many(65, (at) => `10.${at}.0.0/16`) }],
  ["an environment in capitals", "REQUEST_INVALID", { environment: "TEST" }],
  ["no hash", "KEY_HASH_INVALID", { hash: new Uint8Array() }],
  ["a hash that is too short", "KEY_HASH_INVALID", { hash: new Uint8Array(20) }],
  ["a hash in hexadecimal", "KEY_HASH_INVALID", { hash: Buffer.from(sha256("x").toString("hex")) }],
  ["a name of metadata that is none", "REQUEST_INVALID", { metadata: { entries: { "a b": "x" } } }],
  ["metadata that is too long", "REQUEST_INVALID", { metadata: { entries: { a: "x".repeat(501) } } }],
  ["a control character in metadata", "REQUEST_INVALID", { metadata: { entries: { a: "x\0" } } }],
  ["a rate limit of none", "REQUEST_INVALID", { rateLimit: { requests: 0, windowSeconds: 60 } }],
  ["a window that is too long", "REQUEST_INVALID", { rateLimit: { requests: 1, windowSeconds: 86401 } }],
];

test("what is wrong with a key is told in its own result, and the good ones beside it are imported", async () => {
  const good = BAD.map(() => oldKey());
  // A bad one after each good one.
  const keys = BAD.flatMap(([, , more], at) => [keyOf(good[at] ?? ""), keyOf(oldKey(), more)]);
  const { results, imported, refused, unchanged } = await importKeys(service, keys, BEST_EFFORT);
  assert.deepEqual([imported, refused, unchanged], [BAD.length, BAD.length, 0]);
  for (const [at, [what, reason]] of BAD.entries()) {
    const [before, result] = [results[2 * at], results[2 * at + 1]];
    assert.deepEqual([before?.outcome, before?.reason], [IMPORTED, ""], what);
    assert.deepEqual([result?.outcome, result?.reason, result?.id], [REFUSED, reason, ""], what);
    assert.ok(result?.message !== "" && (result?.message.length ?? 0) <= 300, what);
  }
  for (const [at, text] of good.entries()) {
    assert.equal((await present(service, text)).principal?.id, results[2 * at]?.id);
  }
});

test("where it is all or nothing, one bad key leaves nothing, and the others are said to be skipped", async () => {
  const known = oldKey();
  const id = await importKey(service, keyOf(known));
  for (const [what, reason, more] of BAD) {
    const before = await written();
    const texts = [oldKey(), oldKey()];
    const response = await importKeys(service, [
      keyOf(texts[0] ?? ""),
      keyOf(oldKey(), more),
      keyOf(known),
      keyOf(texts[1] ?? ""),
    ]);
    assert.deepEqual(
      response.results.map((result) => [result.outcome, result.reason, result.id]),
      [
        [SKIPPED, "", ""],
        [REFUSED, reason, ""],
        [UNCHANGED, "", id],
        [SKIPPED, "", ""],
      ],
      what,
    );
    assert.deepEqual([response.imported, response.refused, response.unchanged], [0, 1, 1], what);
    assert.deepEqual(await written(), before, what);
    assert.equal(await refusalOf(service, texts[0] ?? ""), "API_KEY_INVALID", what);
  }
});

test("to validate only writes nothing, and says what would be", async () => {
  const [good, bad] = [keyOf(oldKey()), keyOf(oldKey(), { name: "" })];
  const before = await written();
  const format = { ...OLD_FORMAT, length: 41 };
  const look = await importKeys(service, [good, bad], { ...BEST_EFFORT, validateOnly: true, format });
  assert.deepEqual(
    look.results.map(({ outcome, id }) => [outcome, id]),
    [
      [IMPORTED, ""],
      [REFUSED, ""],
    ],
  );
  assert.deepEqual([look.imported, look.refused], [1, 1]);
  const strict = await importKeys(service, [good, bad], { validateOnly: true });
  assert.deepEqual(
    strict.results.map(({ outcome }) => outcome),
    [SKIPPED, REFUSED],
  );
  assert.equal(strict.imported, 0);
  assert.deepEqual(await written(), before);
});

test("a call that is made again changes nothing, also after the keys were used, changed or revoked", async () => {
  const texts = [oldKey(), oldKey(), oldKey()];
  const keys = texts.map((text, at) =>
    keyOf(text, {
      name: `key ${at}`,
      permissions: ["calls.write", "calls.read"],
      allowedCidrs: ["127.0.0.0/8", "::/0"],
      metadata: { entries: { b: "2", a: "1" } },
      rateLimit: { requests: 1000, windowSeconds: 60 },
      expireTime: { seconds: BigInt(Math.floor(Date.now() / 1000) + 3600), nanos: 5_000_000 },
    }),
  );
  const first = await importKeys(service, keys);
  const ids = first.results.map(({ id }) => id);
  const again = async () => {
    const before = await written();
    // In another order, which is no other content.
    const repeated = await importKeys(
      service,
      keys.map((key) => ({
        ...key,
        permissions: ["calls.read", "calls.write"],
        allowedCidrs: ["::/0", "127.0.0.0/8"],
        metadata: { entries: { a: "1", b: "2" } },
      })),
    );
    assert.deepEqual(
      repeated.results.map(({ outcome, id }) => [outcome, id]),
      ids.map((id) => [UNCHANGED, id]),
    );
    assert.deepEqual([repeated.imported, repeated.unchanged, repeated.refused], [0, 3, 0]);
    assert.deepEqual(await written(), before);
  };
  await again();
  const client = service.client(ApiKeyService, { "x-internal-key": service.internalKey });
  await client.revokeApiKey({ id: ids[0] ?? "" });
  await client.updateApiKey({ id: ids[1] ?? "", name: "another" });
  await again();
});

test("the same hash for another organization, or with other content, is taken", async () => {
  const text = oldKey();
  await importKey(service, keyOf(text, { metadata: { entries: { a: "1" } } }));
  const other = await addOrganization(service.core);
  const stranger = await addUser(service.core, { organizationId: other, role: "owner", password });
  const more = { metadata: { entries: { a: "1" } } };
  const { organizationId } = service;
  const somebody = await addUser(service.core, { organizationId, role: "member", password });
  const attempts: readonly (readonly [KeyInit, ImportRequest])[] = [
    [keyOf(text, more), { organizationId: other, ownerId: stranger.id }],
    [keyOf(text, more), { ownerId: somebody.id }],
    [keyOf(text, more), { ownerId: "" }],
    [keyOf(text, more), { format: { ...OLD_FORMAT, alphabet: KeyAlphabet.PRINTABLE } }],
    [keyOf(text, { ...more, name: "another" }), {}],
    [keyOf(text, { ...more, permissions: ["calls.write"] }), {}],
    [keyOf(text, { ...more, environment: "test" }), {}],
    [keyOf(text, { ...more, allowedCidrs: ["10.0.0.0/8"] }), {}],
    [keyOf(text, { ...more, rateLimit: { requests: 1, windowSeconds: 1 } }), {}],
    [keyOf(text, { ...more, expireTime: epoch(new Date(Date.now() + 60_000)) }), {}],
    [keyOf(text), {}],
  ];
  for (const [key, request] of attempts) {
    const { results } = await importKeys(service, [key], { ...BEST_EFFORT, ...request });
    assert.deepEqual(
      results.map(({ outcome, reason, id }) => [outcome, reason, id]),
      [[REFUSED, "KEY_HASH_TAKEN", ""]],
    );
  }
  // What is taken is left as it was.
  const { organization } = await present(service, text);
  assert.equal(organization?.id, organizationId);
});

test("a hash that comes twice in a call is taken by the first that is good", async () => {
  const [twice, badFirst] = [oldKey(), oldKey()];
  const { results } = await importKeys(
    service,
    [
      keyOf(twice),
      keyOf(badFirst, { name: "" }),
      keyOf(twice),
      keyOf(badFirst),
      keyOf(twice, { name: "another" }),
    ],
    BEST_EFFORT,
  );
  assert.deepEqual(
    results.map(({ outcome, reason }) => [outcome, reason]),
    [
      [IMPORTED, ""],
      [REFUSED, "REQUEST_INVALID"],
      [REFUSED, "KEY_HASH_TAKEN"],
      [IMPORTED, ""],
      [REFUSED, "KEY_HASH_TAKEN"],
    ],
  );
  assert.match(results[2]?.message ?? "", /keys\[0\]/);
});

test("a call whose format, organization or owner is none is refused as a whole", async () => {
  const { organizationId, admin } = service;
  const elsewhere = await addOrganization(service.core);
  const person = (more: object) =>
    addUser(service.core, { organizationId, role: "member", password, ...more });
  const [pending, disabled] = [await person({ accepted: false }), await person({ disabled: true })];
  const foreigner = await addUser(service.core, { organizationId: elsewhere, role: "owner", password });
  const gone = await person({});
  await query(service.connection, "update memberships set remove_time = now() where user_id = $1", [gone.id]);
  const before = await written();

  const text = oldKey();
  const calls: readonly (readonly [Reason, ImportRequest])[] = [
    ["KEY_FORMAT_INVALID", { format: { ...OLD_FORMAT, prefix: "ak_" } }],
    ["KEY_FORMAT_INVALID", { format: { ...OLD_FORMAT, prefix: "sk_live_" } }],
    ["KEY_FORMAT_INVALID", { format: { ...OLD_FORMAT, prefix: "eyJ" } }],
    ["KEY_FORMAT_INVALID", { format: { ...OLD_FORMAT, prefix: "x".repeat(32), length: 32 } }],
    [
      "KEY_FORMAT_INVALID",
      { format: { ...OLD_FORMAT, length: 73 }, hashing: { algorithm: KeyHashAlgorithm.BCRYPT } },
    ],
    ["ORGANIZATION_UNKNOWN", { organizationId: uuidv4() }],
    ["OWNER_UNKNOWN", { ownerId: uuidv4() }],
    ["OWNER_UNKNOWN", { ownerId: pending.id }],
    ["OWNER_UNKNOWN", { ownerId: disabled.id }],
    ["OWNER_UNKNOWN", { ownerId: foreigner.id }],
    ["OWNER_UNKNOWN", { ownerId: gone.id }],
    ["OWNER_UNKNOWN", { organizationId: elsewhere, ownerId: admin.id }],
    ["REQUEST_INVALID", { organizationId: "" }],
    ["ORGANIZATION_ID_INVALID", { organizationId: "acme" }],
    ["REQUEST_INVALID", { ownerId: "me" }],
    ["REQUEST_INVALID", { format: { ...OLD_FORMAT, length: 15 } }],
    ["REQUEST_INVALID", { format: { ...OLD_FORMAT, length: 513 } }],
    ["REQUEST_INVALID", { format: { ...OLD_FORMAT, prefix: "a b" } }],
    ["REQUEST_INVALID", { format: { ...OLD_FORMAT, alphabet: KeyAlphabet.UNSPECIFIED } }],
    ["REQUEST_INVALID", { hashing: { algorithm: KeyHashAlgorithm.UNSPECIFIED } }],
    ["REQUEST_INVALID", { hashing: { algorithm: KeyHashAlgorithm.HMAC_SHA256 } }],
    ["REQUEST_INVALID", { hashing: { algorithm: KeyHashAlgorithm.SHA256, hmacSecret: randomBytes(32) } }],
    [
      "REQUEST_INVALID",
      { hashing: { algorithm: KeyHashAlgorithm.HMAC_SHA512, hmacSecret: randomBytes(257) } },
    ],
    ["REQUEST_INVALID", { mode: ImportMode.UNSPECIFIED }],
    ["REQUEST_INVALID", { keys: [] }],
    ["REQUEST_INVALID", { keys: many(10_001, () => ({})) }],
  ];
  for (const [reason, request] of calls) {
    await refusedWith(reason, importKeys(service, [keyOf(text)], request));
    if (!/^(REQUEST|ORGANIZATION_ID)_INVALID$/.test(reason)) {
      await refusedWith(reason, importKeys(service, [keyOf(text)], { ...request, validateOnly: true }));
    }
  }
  assert.deepEqual(await written(), before);
  assert.equal(await refusalOf(service, text), "API_KEY_INVALID");

  // A person cannot own for themselves without a name, and an internal key that says where it acts acts there.
  const token = { authorization: `Bearer ${await service.logIn()}` };
  const request = {
    organizationId,
    format: OLD_FORMAT,
    hashing: { algorithm: KeyHashAlgorithm.SHA256 },
    mode: ImportMode.ALL_OR_NOTHING,
    keys: [keyOf(text)],
  };
  await refusedWith("OWNER_UNKNOWN", service.client(ApiKeyService, token).importApiKeys(request));
  const bound = { "x-internal-key": service.internalKey, "x-org-id": elsewhere };
  await refusedWith("ORGANIZATION_AMBIGUOUS", service.client(ApiKeyService, bound).importApiKeys(request));
  const named = { ...request, ownerId: admin.id };
  assert.equal((await service.client(ApiKeyService, token).importApiKeys(named)).imported, 1);
});

test("the prefixes that this deployment has for its own keys are nobody else's, old ones too", async () => {
  const other = await startService({ beside: service, apiKeyPrefix: "key", apiKeyOldPrefixes: ["old"] });
  try {
    for (const prefix of ["key_", "old_", "sk_"]) {
      await refusedWith(
        "KEY_FORMAT_INVALID",
        importKeys(other, [keyOf(oldKey())], { format: { ...OLD_FORMAT, prefix } }),
      );
    }
    await importKeys(other, [keyOf(oldKey())], { format: { ...OLD_FORMAT, prefix: "ak_" } });
  } finally {
    await other.stop();
  }
});

test("nobody imports what they do not hold, and a key that is bound imports none that is not", async () => {
  const weak = await addServiceKey(service.core, { permissions: ["calls.read", "platform.api_keys.import"] });
  const ending = await addServiceKey(service.core, {
    permissions: ["*"],
    expireTime: new Date(Date.now() + 3_600_000),
  });
  const from = async (text: string, keys: KeyInit[]) => {
    const { results } = await service.client(ApiKeyService, { "x-internal-key": text }).importApiKeys({
      organizationId: service.organizationId,
      ownerId: service.admin.id,
      format: OLD_FORMAT,
      hashing: { algorithm: KeyHashAlgorithm.SHA256 },
      mode: ImportMode.BEST_EFFORT,
      keys,
    });
    return results.map(({ reason }) => reason);
  };
  const permitted = (...permissions: string[]) => keyOf(oldKey(), { permissions });
  assert.deepEqual(
    await from(weak.text, [
      permitted("calls.read"),
      permitted("calls.write"),
      permitted("*"),
      permitted("calls.*"),
    ]),
    ["", "PERMISSION_NOT_HELD", "PERMISSION_NOT_HELD", "PERMISSION_NOT_HELD"],
  );
  const inMinutes = (minutes: number) => ({ expireTime: epoch(new Date(Date.now() + minutes * 60_000)) });
  assert.deepEqual(
    await from(ending.text, [
      keyOf(oldKey()),
      keyOf(oldKey(), inMinutes(120)),
      keyOf(oldKey(), inMinutes(30)),
    ]),
    ["PERMISSION_NOT_HELD", "PERMISSION_NOT_HELD", ""],
  );
});

test("salted hashes need a lookup prefix that is one", async () => {
  const text = oldKey();
  const hash = Buffer.from("$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C");
  const lookups = ["", "old_", text.slice(0, 7), text.slice(0, 33), "other-one", `${text.slice(0, 8)}-`];
  const { results } = await importKeys(
    service,
    [
      ...lookups.map((lookupPrefix) => keyOf(text, { hash, lookupPrefix })),
      keyOf(text, { hash: sha256(text), lookupPrefix: text.slice(0, 12) }),
      keyOf(text, { hash, lookupPrefix: text.slice(0, 12) }),
    ],
    { ...BEST_EFFORT, hashing: { algorithm: KeyHashAlgorithm.BCRYPT } },
  );
  assert.deepEqual(
    results.map(({ reason }) => reason),
    [...lookups.map(() => "KEY_LOOKUP_PREFIX_INVALID"), "KEY_HASH_INVALID", ""],
  );
});

test("one call is one event, which says who imported what, and one change of all that depends on it", async () => {
  await query(service.connection, "delete from audit_events; delete from changes");
  const text = oldKey();
  const format = { ...OLD_FORMAT, length: 39 + 3 };
  const { results } = await importKeys(
    service,
    [keyOf(text), keyOf(oldKey()), keyOf(oldKey(), { name: "" })],
    { ...BEST_EFFORT, format },
  );
  const ids = [results[0]?.id ?? "", results[1]?.id ?? ""];
  const events = await query<Record<string, unknown>>(
    service.connection,
    "select action, organization_id, target_id, actor_type, detail from audit_events",
  );
  assert.deepEqual(events, [
    {
      action: "api_key.import",
      organization_id: service.organizationId,
      target_id: service.organizationId,
      actor_type: "service",
      detail: {
        owner: { userId: service.admin.id },
        format: { prefix: "old_", length: 42, alphabet: "base62" },
        algorithm: "sha256",
        imported: 2,
        unchanged: 0,
        refused: 1,
        ids,
      },
    },
  ]);
  const tags = () => query<{ tags: string[] }>(service.connection, "select tags from changes order by id");
  assert.deepEqual(await tags(), [{ tags: [...ids.map((id) => `key:${id}`), "key_formats"] }]);
  // A format that is known is no news.
  const more = await importKeys(service, [keyOf(oldKey())], { format });
  assert.deepEqual((await tags())[1], { tags: [`key:${more.results[0]?.id}`] });
});
