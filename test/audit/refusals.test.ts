import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { pino } from "pino";
import { v4 as uuidv4 } from "uuid";
import { RefusalRecorder } from "../../src/audit/refusal-recorder.ts";
import { type Refusal, RefusalTally } from "../../src/audit/refusal-tally.ts";
import { AuditActorType, type AuditEvent, AuditService } from "../../src/gen/latchkey/v1/audit_pb.ts";
import type { Storage } from "../../src/storage/open-storage.ts";
import { addApiKey, addOrganization, addUser, makePassword } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";
import { until } from "../support/until.ts";
import { sealingOf } from "./sealing.ts";

let service: TestService;
let internal: { readonly "x-internal-key": string };
before(async () => {
  service = await startService({ auditTimes: { sealMillis: 2 ** 31 - 1, refusalMillis: 30 } });
  internal = { "x-internal-key": service.internalKey };
});
after(() => service?.stop());

/** The refusals of a record, once there is one that is like this. */
async function recorded(record: string, is: (event: AuditEvent) => boolean): Promise<AuditEvent> {
  let found: AuditEvent | undefined;
  await until("the refusal is recorded", async () => {
    const audit = service.client(AuditService, internal);
    const { events } = await audit.listAuditEvents({ record, pageSize: 250 });
    found = events.find((event) => event.action.endsWith(".refused") && is(event));
    return found !== undefined;
  });
  return found ?? assert.fail();
}

test("a refused key is recorded for its organization: whose it was, why, from where, and how often", async () => {
  const { organizationId, admin } = service;
  const key = await addApiKey(service.core, { organizationId, owner: { userId: admin.id }, permissions: [] });
  await service
    .client(ApiKeyService, { authorization: `Bearer ${await service.logIn()}` })
    .revokeApiKey({ id: key.id });
  const about = { headers: [{ name: "X-API-Key", value: key.text }], clientAddress: "203.0.113.7" };
  const ask = service.client(AuthenticationService, { ...internal, "x-request-id": "tried" });
  await refusedWith("API_KEY_REVOKED", ask.authenticate(about));
  const event = await recorded(organizationId, ({ actorId }) => actorId === key.id);
  assert.deepEqual(
    {
      ...event,
      id: "",
      occurTime: undefined,
      detail: { ...event.detail, firstTime: "", lastTime: "", samples: [] },
    },
    {
      $typeName: "latchkey.v1.AuditEvent",
      id: "",
      organizationId,
      occurTime: undefined,
      actorType: AuditActorType.API_KEY,
      actorId: key.id,
      onBehalfOf: "",
      action: "credential.refused",
      targetId: "latchkey.v1.AuthenticationService/Authenticate",
      detail: {
        reason: "API_KEY_REVOKED",
        credentialId: key.id,
        count: 1,
        firstTime: "",
        lastTime: "",
        samples: [],
        addresses: ["203.0.113.7"],
      },
      sourceAddress: "",
      requestId: "",
      personalDataErased: false,
      sequence: 0n,
    },
  );
  const samples = event.detail?.["samples"] as { requestId: string }[] | undefined;
  assert.deepEqual(
    samples?.map(({ requestId }) => requestId),
    ["tried"],
  );
});

test("a refused login is recorded with the person where they are known, and without the email where not", async () => {
  const { organizationId, core } = service;
  const password = await makePassword(core);
  const person = await addUser(core, { organizationId, role: "viewer", password });
  const several = await addUser(core, { organizationId, role: "viewer", password });
  const other = await addOrganization(core);
  await addUser(core, { organizationId: other, role: "viewer", password, email: several.email });
  const stranger = `${uuidv4()}@stranger.test`;
  const tokens = service.client(TokenService);
  for (const email of [person.email, several.email, stranger]) {
    const grant = { case: "password", value: { email, password: "this is not the password" } } as const;
    await refusedWith("LOGIN_FAILED", tokens.issueToken({ grant }));
  }
  const own = await recorded(organizationId, ({ actorId }) => actorId === person.id);
  assert.equal(own.action, "login.refused");
  assert.equal(own.targetId, "latchkey.v1.TokenService/IssueToken");
  assert.deepEqual(own.detail?.["addresses"], ["127.0.0.1"]);
  // Of somebody who belongs to several organizations none is told.
  await recorded("platform", ({ actorId }) => actorId === several.id);
  const unknown = await recorded(
    "platform",
    ({ action, actorType }) => action === "login.refused" && actorType === AuditActorType.ANONYMOUS,
  );
  assert.equal(unknown.actorId, "");
  const everything = await query<{ text: string }>(
    service.connection,
    "select e::text || coalesce(p::text, '') as text from audit_events e left join audit_personal_data p on p.event_id = e.id",
  );
  assert.ok(everything.every(({ text }) => !text.includes(stranger)));
});

test("a call that is refused for lack of a permission is recorded as its caller's", async () => {
  await refusedWith(
    "PERMISSION_DENIED",
    service.client(UserService, { "x-api-key": service.apiKey }).listUsers({}),
  );
  const event = await recorded(service.organizationId, ({ targetId }) => targetId.endsWith("/ListUsers"));
  assert.deepEqual([event.action, event.actorType], ["call.refused", AuditActorType.API_KEY]);
});

test("a service of one organization is not told to another whose key it asked about", async () => {
  const { core } = service;
  const other = await addOrganization(core);
  const password = await makePassword(core);
  const theirs = await addUser(core, { organizationId: other, role: "owner", password });
  const key = await addApiKey(core, { organizationId: other, owner: { userId: theirs.id }, permissions: [] });
  const caller = await addApiKey(core, {
    organizationId: service.organizationId,
    owner: { userId: service.admin.id },
    permissions: ["auth.authenticate"],
  });
  const asking = await startService({ beside: service, callers: "authenticated" });
  try {
    const ask = asking.client(AuthenticationService, { "x-api-key": caller.text });
    const headers = [{ name: "X-API-Key", value: key.text }];
    await refusedWith("ORGANIZATION_MISMATCH", ask.authenticate({ headers }));
  } finally {
    // What waits is written down at the end.
    await asking.stop();
  }
  const event = await recorded(other, ({ actorId }) => actorId === key.id);
  assert.ok(!JSON.stringify(event.detail).includes(caller.id));
  assert.ok(!JSON.stringify(event.detail).includes(service.organizationId));
});

test("refusals are sealed like changes", async () => {
  const sealing = await sealingOf(service);
  await recorded(service.organizationId, () => true);
  await sealing.sealer().seal();
  const { fault, verifiedEvents } = await sealing.verify(service.organizationId);
  assert.equal(fault, undefined);
  assert.ok(verifiedEvents > 0n);
});

const refusal = (more: Partial<Refusal> = {}): Refusal => ({
  action: "call.refused",
  method: "a.B/C",
  reason: "PERMISSION_DENIED",
  peerAddress: "203.0.113.1",
  requestId: uuidv4(),
  ...more,
});

test("however many strangers try, and from wherever, there are few groups, and each refusal is counted in one", () => {
  const some = fc.record({
    organizationId: fc.option(fc.nat(20).map(String), { nil: undefined }),
    method: fc.nat(30).map((at) => `a.B/${at}`),
    reason: fc.nat(5).map((at) => `R${at}`),
    principal: fc.option(
      fc.nat(5_000).map((at) => ({ type: "api_key" as const, id: String(at) })),
      { nil: undefined },
    ),
    peerAddress: fc.ipV6(),
  });
  fc.assert(
    fc.property(fc.array(some, { minLength: 3_000, maxLength: 6_000, size: "max" }), (all) => {
      const tally = new RefusalTally();
      for (const one of all) {
        tally.add(refusal(one), 0);
      }
      assert.ok(tally.size <= 2_048 + 21 + 1);
      const groups = tally.take(0);
      assert.equal(
        groups.reduce((sum, { count }) => sum + count, 0),
        all.length,
      );
      for (const group of groups) {
        assert.ok(group.samples.length <= 3 && group.addresses.size <= 5);
      }
      // Nobody's refusals are counted as another organization's.
      const countOf = (of: readonly { organizationId: string | undefined }[], id: string) =>
        of.filter(({ organizationId }) => organizationId === id).length;
      for (const { organizationId, count } of groups.filter((group) => group.organizationId !== undefined)) {
        assert.ok(count <= countOf(all, organizationId ?? ""));
      }
    }),
    { numRuns: 2 },
  );
});

test("what is refused again and again is written down once a minute", () => {
  const tally = new RefusalTally();
  tally.add(refusal(), 0);
  assert.equal(tally.take(1).length, 1);
  tally.add(refusal(), 2);
  tally.add(refusal(), 30_000);
  assert.equal(tally.take(60_000).length, 0);
  assert.deepEqual(
    tally.take(60_001).map(({ count, firstMillis, lastMillis }) => ({ count, firstMillis, lastMillis })),
    [{ count: 2, firstMillis: 2, lastMillis: 30_000 }],
  );
  assert.equal(tally.take(130_000).length, 0);
  // Then nothing of it is left.
  assert.equal(tally.size, 0);
});

test("while the database is away refusals wait, and are written once when it is back", async () => {
  const { storage } = service.core;
  let isAway = true;
  const flaky: Storage = {
    ...storage,
    inBackground: (name, sql, values) =>
      isAway ? Promise.reject(new Error("away")) : storage.inBackground<never>(name, sql, values),
  };
  const lines: string[] = [];
  const log = pino({ level: "trace" }, { write: (line: string) => lines.push(line) });
  const recorder = new RefusalRecorder({ storage: flaky, log, flushMillis: 5 });
  const method = `a.B/${uuidv4()}`;
  recorder.note(refusal({ method }));
  await until("it has failed", () => lines.length > 0);
  recorder.note(refusal({ method }));
  isAway = false;
  await recorder.close();
  const rows = await query<{ count: number }>(
    service.connection,
    "select sum((detail ->> 'count')::int)::int as count from audit_events where target_id = $1",
    [method],
  );
  assert.deepEqual(rows, [{ count: 2 }]);
});

test("of somebody who was deleted it is not kept where from their token is tried later", async () => {
  const { organizationId, core } = service;
  const password = await makePassword(core);
  const person = await addUser(core, { organizationId, role: "viewer", password });
  const token = await service.logIn(person.email, password.text);
  await service.client(UserService, internal).deleteUser({ id: person.id });
  const headers = [{ name: "authorization", value: `Bearer ${token}` }];
  const ask = service.client(AuthenticationService, internal);
  await refusedWith("USER_DISABLED", ask.authenticate({ headers, clientAddress: "203.0.113.77" }));
  const event = await recorded(organizationId, ({ actorId }) => actorId === person.id);
  assert.equal(event.detail?.["addresses"], undefined);
  assert.ok(event.personalDataErased);
  const kept = "select from audit_personal_data where user_id = $1 and data is not null";
  assert.deepEqual(await query(service.connection, kept, [person.id]), []);
});
