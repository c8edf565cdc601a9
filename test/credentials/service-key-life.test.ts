import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import { v4 as uuidv4 } from "uuid";
import type { ServiceKey } from "../../src/gen/latchkey/v1/service_key_pb.ts";
import { bearer, internalKey } from "../access/actors.ts";
import { addServiceKey } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  ServiceKeyService,
  startService,
  type TestService,
} from "../support/service.ts";

let service: TestService;
/** Another replica, whose next call each change has to reach. */
let other: TestService;
let keys: Client<typeof ServiceKeyService>;
before(async () => {
  service = await startService();
  other = await startService({ beside: service });
  keys = service.client(ServiceKeyService, bearer(await service.logIn()));
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

const whoHolds = (text: string) =>
  other.client(AuthenticationService).authenticate({
    headers: [{ name: "X-Internal-Key", value: text }],
    clientAddress: "203.0.113.7",
  });

const get = async (id: string): Promise<ServiceKey> => {
  const key = (await keys.getServiceKey({ id })).serviceKey;
  assert.ok(key);
  return key;
};

test("an internal key is told alike by whatever tells it, with who made it and its secret's beginning", async () => {
  const name = `service-${uuidv4()}`;
  const made = await keys.createServiceKey({
    name,
    permissions: ["calls.read"],
    allowedCidrs: ["10.0.0.0/8"],
  });
  const key = made.serviceKey;
  assert.ok(key);
  assert.deepEqual(key, await get(key.id));
  const { serviceKeys } = await keys.listServiceKeys({ pageSize: 250 });
  assert.deepEqual(
    serviceKeys.find(({ id }) => id === key.id),
    key,
  );
  assert.deepEqual(
    [key.name, key.permissions, key.allowedCidrs, key.creatorId],
    [name, ["calls.read"], ["10.0.0.0/8"], service.admin.id],
  );
  assert.deepEqual(
    key.slots.map(({ slot, displayPrefix }) => [slot, displayPrefix]),
    [[1, made.secret.slice(0, made.secret.lastIndexOf("_"))]],
  );
  const ofDeployment = await addServiceKey(service.core, { permissions: ["calls.read"] });
  assert.equal((await get(ofDeployment.id)).creatorId, "");
});

test("each field is changed by itself, in force on another replica's next call, and on record", async () => {
  const { id, text } = await addServiceKey(service.core, { permissions: ["calls.read"] });
  const end = new Date(Date.now() + HOUR);
  const steps: [Parameters<typeof keys.updateServiceKey>[0], object, object][] = [
    [
      { permissions: { values: ["platform.users.read", "calls.write"] } },
      { permissions: ["calls.read"] },
      { permissions: ["calls.write", "platform.users.read"] },
    ],
    [
      { expiry: { case: "expireTime", value: timestampFromDate(end) } },
      { expireTime: null },
      { expireTime: end.toISOString() },
    ],
    [
      { expiry: { case: "neverExpires", value: true } },
      { expireTime: end.toISOString() },
      { expireTime: null },
    ],
    [
      { allowedCidrs: { values: ["203.0.113.0/24"] } },
      { allowedCidrs: [] },
      { allowedCidrs: ["203.0.113.0/24"] },
    ],
    [{ allowedCidrs: {} }, { allowedCidrs: ["203.0.113.0/24"] }, { allowedCidrs: [] }],
  ];
  for (const [asked, , is] of steps) {
    const { serviceKey: told } = await keys.updateServiceKey({ id, ...asked });
    assert.ok(told);
    assert.deepEqual(await get(id), told);
    const { permissions, allowedCidrs } = told;
    const expireTime = told.expireTime ? timestampDate(told.expireTime).toISOString() : null;
    assert.partialDeepStrictEqual({ permissions, allowedCidrs, expireTime }, is);
    const decision = await whoHolds(text);
    assert.deepEqual(decision.permissions, permissions);
    assert.deepEqual(decision.credential?.expireTime, told.expireTime);
  }
  assert.deepEqual(
    await eventsOf(id),
    steps.map(([, was, is]) => ({ action: "service_key.update", detail: { before: was, after: is } })),
  );
  assert.equal(await changesOf(id), steps.length);
  await keys.updateServiceKey({ id, allowedCidrs: { values: ["198.51.100.0/24"] } });
  await refusedWith("CLIENT_ADDRESS_DENIED", whoHolds(text));
});

test("what is as it was asked for already is no change", async () => {
  const expireTime = new Date(Date.now() + HOUR);
  const { id } = await addServiceKey(service.core, {
    permissions: ["calls.hold", "calls.read"],
    allowedCidrs: ["10.0.0.0/8"],
    expireTime,
  });
  const before = await get(id);
  const same: Parameters<typeof keys.updateServiceKey>[0][] = [
    {},
    { permissions: { values: ["calls.read", "calls.hold"] } },
    { expiry: { case: "expireTime", value: timestampFromDate(expireTime) } },
    { allowedCidrs: { values: ["10.0.0.0/8"] } },
  ];
  for (const asked of same) {
    await keys.updateServiceKey({ id, ...asked });
  }
  assert.deepEqual(await get(id), before);
  assert.deepEqual([await eventsOf(id), await changesOf(id)], [[], 0]);
});

test("a change that breaks a rule of its message is refused, and changes nothing", async () => {
  const { id } = await addServiceKey(service.core, { permissions: ["calls.read"] });
  const wrong: Parameters<typeof keys.updateServiceKey>[0][] = [
    { permissions: {} },
    { expiry: { case: "expireTime", value: { seconds: 1n } } },
    { expiry: { case: "expireTime", value: { seconds: 253402300000n, nanos: 1_000_000_000 } } },
    { expiry: { case: "neverExpires", value: false } },
    { allowedCidrs: { values: ["10.0.0.1/8"] } },
  ];
  for (const asked of wrong) {
    await refusedWith("REQUEST_INVALID", keys.updateServiceKey({ id, ...asked }));
  }
  const unknown = keys.updateServiceKey({ id, permissions: { values: ["calls.raed"] } });
  await refusedWith("PERMISSION_UNKNOWN", unknown);
  assert.deepEqual(await eventsOf(id), []);
});

test("what an internal key has lost, the API keys that stand on it have lost as well", async () => {
  const permissions = ["auth.api_keys.write", "calls.read", "calls.write"];
  const { id, text } = await addServiceKey(service.core, { permissions });
  const { secret } = await service
    .client(ApiKeyService, internalKey(text, service.organizationId))
    .createApiKey({ name: "made", permissions: ["calls.read", "calls.write"] });
  await keys.updateServiceKey({ id, permissions: { values: ["calls.read"] } });
  const decision = await other
    .client(AuthenticationService)
    .authenticate({ headers: [{ name: "X-API-Key", value: secret }] });
  assert.deepEqual(decision.permissions, ["calls.read"]);
});

test("the usage of an internal key is told by day and by secret, and its slot tells the last use", async () => {
  const { id, text } = await addServiceKey(service.core, { permissions: ["calls.read"] });
  const prefix = text.slice(0, text.lastIndexOf("_"));
  const used = "2026-01-31T10:00:00.000Z";
  for (const [ago, allowed] of [
    [0, 3],
    [40, 7],
  ]) {
    await run(
      `insert into key_usage (key_id, date, lookup_id, display_prefix, allowed, refused, last_use_time, last_use_address)
       values ($1, (now() at time zone 'utc')::date - $2::int, $3, $4, $5, 1, $6, '')`,
      id,
      ago,
      text.split("_").at(-2),
      prefix,
      allowed,
      used,
    );
  }
  const { days, slots } = await keys.getServiceKeyUsage({ id });
  assert.deepEqual(
    days.map(({ allowed, refused, slots: of }) => [allowed, refused, of.map((slot) => slot.displayPrefix)]),
    [[3n, 1n, [prefix]]],
  );
  assert.equal((await keys.getServiceKeyUsage({ id, days: 41 })).days.length, 2);
  assert.deepEqual(
    slots.map(({ lastUseTime, lastUseAddress }) => [
      lastUseTime && timestampDate(lastUseTime).toISOString(),
      lastUseAddress,
    ]),
    [[used, ""]],
  );
  await refusedWith("NOT_FOUND", keys.getServiceKeyUsage({ id: uuidv4() }));
});
