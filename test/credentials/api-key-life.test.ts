import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import fc from "fast-check";
import type { ApiKey } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { apiKey, bearer, type Headers, internalKey } from "../access/actors.ts";
import { addApiKey, addServiceKey } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { ApiKeyService, AuthenticationService, startService, type TestService } from "../support/service.ts";

let service: TestService;
/** Another replica, whose next call each change has to reach. */
let other: TestService;
let admin: Headers;
let keys: Client<typeof ApiKeyService>;

before(async () => {
  service = await startService();
  other = await startService({ beside: service });
  admin = bearer(await service.logIn());
  keys = service.client(ApiKeyService, admin);
});
after(async () => {
  await other.stop();
  await service.stop();
});

const HOUR = 3_600_000;

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const eventsOf = (id: string) =>
  run<{ action: string; detail: unknown }>(
    "select action, detail from audit_events where target_id = $1 order by id",
    id,
  );

const changesOf = async (id: string) =>
  (await run("select from changes where $1 = any(tags)", `key:${id}`)).length;

/** What another replica says of a key on its next call. */
const whoHolds = (text: string, clientAddress = "") =>
  other
    .client(AuthenticationService)
    .authenticate({ headers: [{ name: "X-API-Key", value: text }], clientAddress });

async function add(more: Partial<Parameters<typeof addApiKey>[1]> = {}) {
  const { core, organizationId } = service;
  const owner = { userId: service.admin.id };
  return await addApiKey(core, { organizationId, owner, permissions: ["calls.read"], ...more });
}

const get = async (id: string): Promise<ApiKey> => {
  const key = (await keys.getApiKey({ id })).apiKey;
  assert.ok(key);
  return key;
};

test("a key is told with all that it was created with", async () => {
  const expireTime = timestampFromDate(new Date(Date.now() + HOUR));
  const asked = {
    name: "reporting",
    permissions: ["calls.read", "calls.*"],
    environment: "test",
    allowedCidrs: ["203.0.113.0/24", "10.0.0.0/8"],
    expireTime,
  };
  const entries = { team: "billing", ticket: "A-1", "a.b-c_d": "" };
  const rateLimit = { requests: 100, windowSeconds: 60 };
  const made = await keys.createApiKey({ ...asked, metadata: { entries }, rateLimit });
  const key = made.apiKey;
  assert.ok(key);
  const told = await get(key.id);
  assert.deepEqual(key, told);
  assert.deepEqual(
    {
      name: told.name,
      permissions: told.permissions,
      environment: told.environment,
      allowedCidrs: told.allowedCidrs,
      expireTime: told.expireTime,
      metadata: told.metadata,
      rateLimit: told.rateLimit && {
        requests: told.rateLimit.requests,
        windowSeconds: told.rateLimit.windowSeconds,
      },
      ownerId: told.ownerId,
      creatorId: told.creatorId,
      imported: told.imported,
      slots: told.slots.map(({ slot, displayPrefix }) => [slot, displayPrefix]),
    },
    {
      ...asked,
      permissions: asked.permissions.toSorted(),
      expireTime: timestampFromDate(timestampDate(expireTime)),
      metadata: entries,
      rateLimit,
      ownerId: service.admin.id,
      creatorId: service.admin.id,
      imported: false,
      slots: [[1, told.displayPrefix]],
    },
  );
  const [event] = await eventsOf(key.id);
  assert.deepEqual(event, {
    action: "api_key.create",
    detail: {
      after: {
        ...asked,
        permissions: asked.permissions.toSorted(),
        expireTime: timestampDate(expireTime).toISOString(),
        metadata: entries,
        rateLimit,
      },
    },
  });
});

test("a key that an internal key or an API key makes tells whose rights bound it", async () => {
  const { core, organizationId } = service;
  const internal = await addServiceKey(core, { permissions: ["auth.api_keys.write", "calls.read"] });
  const asked = { name: "made", permissions: ["auth.api_keys.write", "calls.read"] };
  const byService = await service
    .client(ApiKeyService, internalKey(internal.text, organizationId))
    .createApiKey(asked);
  assert.deepEqual([byService.apiKey?.ownerId, byService.apiKey?.creatorId], [internal.id, internal.id]);
  const byKey = await service.client(ApiKeyService, apiKey(byService.secret)).createApiKey(asked);
  assert.deepEqual([byKey.apiKey?.ownerId, byKey.apiKey?.creatorId], [internal.id, byService.apiKey?.id]);
});

test("each field is changed by itself, in force on another replica's next call, and on record", async () => {
  const { id, text } = await add();
  const before = await get(id);
  const end = new Date(Date.now() + HOUR);
  const rateLimit = { requests: 5, windowSeconds: 1 };
  const steps: [Parameters<typeof keys.updateApiKey>[0], unknown, unknown, (key: ApiKey) => unknown][] = [
    [{ name: "renamed" }, { name: before.name }, { name: "renamed" }, ({ name }) => ({ name })],
    [
      { permissions: { values: ["calls.write", "calls.hold"] } },
      { permissions: ["calls.read"] },
      { permissions: ["calls.hold", "calls.write"] },
      ({ permissions }) => ({ permissions }),
    ],
    [
      { expiry: { case: "expireTime", value: timestampFromDate(end) } },
      { expireTime: null },
      { expireTime: end.toISOString() },
      ({ expireTime }) => ({ expireTime: expireTime && timestampDate(expireTime).toISOString() }),
    ],
    [
      { expiry: { case: "neverExpires", value: true } },
      { expireTime: end.toISOString() },
      { expireTime: null },
      ({ expireTime }) => ({ expireTime: expireTime ?? null }),
    ],
    [
      { allowedCidrs: { values: ["203.0.113.0/24"] } },
      { allowedCidrs: [] },
      { allowedCidrs: ["203.0.113.0/24"] },
      ({ allowedCidrs }) => ({ allowedCidrs }),
    ],
    [
      { allowedCidrs: {} },
      { allowedCidrs: ["203.0.113.0/24"] },
      { allowedCidrs: [] },
      ({ allowedCidrs }) => ({ allowedCidrs }),
    ],
    [
      { metadata: { entries: { a: "1" } } },
      { metadata: {} },
      { metadata: { a: "1" } },
      ({ metadata }) => ({ metadata }),
    ],
    [{ metadata: {} }, { metadata: { a: "1" } }, { metadata: {} }, ({ metadata }) => ({ metadata })],
    [
      { limit: { case: "rateLimit", value: rateLimit } },
      { rateLimit: null },
      { rateLimit },
      ({ rateLimit: limit }) => ({
        rateLimit: limit && { requests: limit.requests, windowSeconds: limit.windowSeconds },
      }),
    ],
    [
      { limit: { case: "unlimited", value: true } },
      { rateLimit },
      { rateLimit: null },
      ({ rateLimit: limit }) => ({ rateLimit: limit ?? null }),
    ],
  ];
  const details: unknown[] = [];
  for (const [asked, was, is, tellOf] of steps) {
    const { apiKey: told } = await keys.updateApiKey({ id, ...asked });
    assert.ok(told);
    assert.deepEqual(tellOf(told), is);
    assert.deepEqual(await get(id), told);
    details.push({ action: "api_key.update", detail: { before: was, after: is } });
    // What another replica decides by is what was told.
    const decision = await whoHolds(text, "203.0.113.7");
    assert.deepEqual(
      {
        name: decision.principal?.displayName,
        permissions: decision.permissions,
        expireTime: decision.credential?.expireTime,
      },
      { name: told.name, permissions: told.permissions, expireTime: told.expireTime },
    );
  }
  assert.deepEqual(await eventsOf(id), details);
  assert.equal(await changesOf(id), steps.length);
});

test("a key that is bound to addresses is refused elsewhere from the moment that the call answers", async () => {
  const { id, text } = await add();
  await keys.updateApiKey({ id, allowedCidrs: { values: ["203.0.113.0/24"] } });
  await refusedWith("CLIENT_ADDRESS_DENIED", whoHolds(text, "198.51.100.7"));
  await whoHolds(text, "203.0.113.7");
});

test("what is as it was asked for already is no change, in whatever order it is said", async () => {
  const expireTime = new Date(Date.now() + HOUR);
  const { id } = await add({
    permissions: ["calls.hold", "calls.read"],
    allowedCidrs: ["10.0.0.0/8"],
    expireTime,
  });
  const rateLimit = { requests: 5, windowSeconds: 1 };
  await keys.updateApiKey({
    id,
    metadata: { entries: { a: "1", b: "2" } },
    limit: { case: "rateLimit", value: rateLimit },
  });
  const before = [await eventsOf(id), await changesOf(id), await get(id)];
  const same: Parameters<typeof keys.updateApiKey>[0][] = [
    {},
    { name: "test" },
    { permissions: { values: ["calls.read", "calls.hold"] } },
    { expiry: { case: "expireTime", value: timestampFromDate(expireTime) } },
    { allowedCidrs: { values: ["10.0.0.0/8"] } },
    { metadata: { entries: { b: "2", a: "1" } } },
    { limit: { case: "rateLimit", value: rateLimit } },
  ];
  for (const asked of same) {
    await keys.updateApiKey({ id, ...asked });
  }
  assert.deepEqual([await eventsOf(id), await changesOf(id), await get(id)], before);
  const endless = await add();
  await keys.updateApiKey({ id: endless.id, expiry: { case: "neverExpires", value: true } });
  await keys.updateApiKey({ id: endless.id, limit: { case: "unlimited", value: true } });
  await keys.updateApiKey({ id: endless.id, allowedCidrs: {}, metadata: {} });
  assert.deepEqual(await eventsOf(endless.id), []);
});

test("an expired key works again once it has a later end", async () => {
  const { id, text } = await add({ expireTime: new Date(Date.now() - 1000) });
  await refusedWith("API_KEY_EXPIRED", whoHolds(text));
  await keys.updateApiKey({ id, name: "still expired" });
  await refusedWith("API_KEY_EXPIRED", whoHolds(text));
  const value = timestampFromDate(new Date(Date.now() + HOUR));
  await keys.updateApiKey({ id, expiry: { case: "expireTime", value } });
  await whoHolds(text);
});

test("a change that breaks a rule of its message is refused, and changes nothing", async () => {
  const { id } = await add();
  const before = await get(id);
  const past = { seconds: 1n };
  const wrong: Parameters<typeof keys.updateApiKey>[0][] = [
    { name: "" },
    { name: " x" },
    { permissions: {} },
    { permissions: { values: ["calls.read", "calls.read"] } },
    { expiry: { case: "expireTime", value: past } },
    { expiry: { case: "expireTime", value: { seconds: 253402300800n } } },
    { expiry: { case: "expireTime", value: { seconds: 253402300000n, nanos: -1 } } },
    { expiry: { case: "neverExpires", value: false } },
    { allowedCidrs: { values: ["10.0.0.1/8"] } },
    { allowedCidrs: { values: ["nowhere"] } },
    { metadata: { entries: { "": "x" } } },
    { metadata: { entries: { _x: "x" } } },
    { metadata: { entries: { x: "a\u0000b" } } },
    { metadata: { entries: { x: "y".repeat(501) } } },
    { metadata: { entries: Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`n${at}`, ""])) } },
    { limit: { case: "rateLimit", value: { requests: 0, windowSeconds: 1 } } },
    { limit: { case: "rateLimit", value: { requests: 1, windowSeconds: 86_401 } } },
    { limit: { case: "rateLimit", value: {} } },
    { limit: { case: "unlimited", value: false } },
  ];
  for (const asked of wrong) {
    await refusedWith("REQUEST_INVALID", keys.updateApiKey({ id, ...asked }));
  }
  for (const permission of ["calls.raed", "platform.users.read", "auth.*", "*.*"]) {
    const call = keys.updateApiKey({ id, permissions: { values: ["calls.read", permission] } });
    await refusedWith("PERMISSION_UNKNOWN", call);
  }
  assert.deepEqual(await get(id), before);
  assert.deepEqual(await eventsOf(id), []);
});

test("whatever is remembered of a key comes back as it was", async () => {
  const names = fc.oneof(
    fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$/),
    fc.constantFrom("constructor", "toString", "then", "toJSON", "hasOwnProperty", "length", "id", "0"),
  );
  const values = fc.oneof(
    fc.stringMatching(/^[^\p{C}]{0,40}$/u),
    fc.constantFrom("?", "??", "$1", ":x", "' or true --", "\\", '"', "{}", "null"),
  );
  const entries = fc.dictionary(names, values, { maxKeys: 32, noNullPrototype: true });
  const { id } = await add();
  await fc.assert(
    fc.asyncProperty(entries, values, async (remembered, name) => {
      const asked = { metadata: { entries: remembered } };
      const changed = await keys.updateApiKey({ id, ...asked });
      assert.deepEqual(changed.apiKey?.metadata, remembered);
      assert.deepEqual((await get(id)).metadata, remembered);
      const made = await keys.createApiKey({ name: `n${name}n`, permissions: ["calls.read"], ...asked });
      const told = await get(made.apiKey?.id ?? "");
      assert.deepEqual([told.metadata, told.name], [remembered, `n${name}n`]);
      const reason = name;
      const { apiKey: revoked } = await keys.revokeApiKey({ id: told.id, reason });
      assert.equal(revoked?.revokeReason, reason);
    }),
    { numRuns: 30 },
  );
});

test("the usage of a key is told by day and by secret, and its slots tell their last use", async () => {
  const { id, text } = await add();
  const unused = await keys.getApiKeyUsage({ id });
  assert.deepEqual([unused.days, unused.slots], [[], (await get(id)).slots]);
  const { secret } = await keys.rotateApiKey({ id, overlap: { seconds: 60n } });
  const [newId = "", oldId = ""] = [secret, text].map((each) => each.split("_").at(-2) ?? "");
  const [newPrefix = "", oldPrefix = ""] = [secret, text].map((each) => each.slice(0, each.lastIndexOf("_")));
  const used = "2026-01-31T10:00:00.000Z";
  const row = (lookupId: string, prefix: string, ago: number, allowed: number, refused: number) =>
    run(
      `insert into key_usage (key_id, date, lookup_id, display_prefix, allowed, refused, last_use_time, last_use_address)
       values ($1, (now() at time zone 'utc')::date - $2::int, $3, $4, $5, $6, $7, '203.0.113.7')`,
      id,
      ago,
      lookupId,
      prefix,
      allowed,
      refused,
      used,
    );
  await row(oldId, oldPrefix, 0, 1, 2);
  await row(newId, newPrefix, 0, 10, 20);
  await row(oldId, oldPrefix, 29, 5, 0);
  await row(oldId, oldPrefix, 30, 7, 0);
  const { days, slots } = await keys.getApiKeyUsage({ id });
  assert.deepEqual(
    days.map(({ allowed, refused, slots: of }) => ({
      allowed,
      refused,
      slots: Object.fromEntries(of.map((slot) => [slot.displayPrefix, [slot.allowed, slot.refused]])),
    })),
    [
      { allowed: 11n, refused: 22n, slots: { [oldPrefix]: [1n, 2n], [newPrefix]: [10n, 20n] } },
      { allowed: 5n, refused: 0n, slots: { [oldPrefix]: [5n, 0n] } },
    ],
  );
  assert.equal((await keys.getApiKeyUsage({ id, days: 31 })).days.length, 3);
  assert.equal((await keys.getApiKeyUsage({ id, days: 1 })).days.length, 1);
  assert.deepEqual(
    slots.map((slot) => [
      slot.displayPrefix,
      slot.lastUseAddress,
      slot.lastUseTime && timestampDate(slot.lastUseTime).toISOString(),
    ]),
    [
      [newPrefix, "203.0.113.7", used],
      [oldPrefix, "203.0.113.7", used],
    ],
  );
  assert.deepEqual((await get(id)).slots, slots);
  const { apiKeys } = await keys.listApiKeys({ pageSize: 250 });
  assert.deepEqual(apiKeys.find((key) => key.id === id)?.slots, slots);
});
