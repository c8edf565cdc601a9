import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Client } from "pg";
import { v4 as uuidv4 } from "uuid";
import { erasePersonalData } from "../../src/audit/erase-personal-data.ts";
import { mutate } from "../../src/changes/mutate.ts";
import { AuditActorType, AuditService } from "../../src/gen/latchkey/v1/audit_pb.ts";
import {
  addApiKey,
  addOrganization,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { OrganizationService, startService, type TestService, UserService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { addEvent, type Sealing, sealingOf } from "./sealing.ts";

let service: TestService;
let sealing: Sealing;
let admin: Record<string, string>;
let internal: Record<string, string>;
let password: Password;

before(async () => {
  service = await startService();
  sealing = await sealingOf(service);
  admin = { authorization: `Bearer ${await service.logIn()}` };
  internal = { "x-internal-key": service.internalKey };
  password = await makePassword(service.core);
});
after(() => service?.stop());

const audit = (headers: Record<string, string> = admin) => service.client(AuditService, headers);

async function createdUser() {
  const email = `${uuidv4()}@people.test`;
  const requestId = `request-${uuidv4()}`;
  const { user } = await service
    .client(UserService, { ...admin, "x-request-id": requestId })
    .createUser({ email, displayName: "Ann Example", role: "viewer", password: password.text });
  return { id: user?.id ?? assert.fail(), email, requestId };
}

test("a change is recorded with who, from where, by which call, and the state after", async () => {
  const { id, email, requestId } = await createdUser();
  const { events } = await audit().listAuditEvents({ targetId: id });
  const [event] = events;
  assert.equal(events.length, 1);
  assert.deepEqual(
    [event?.action, event?.actorType, event?.actorId, event?.requestId, event?.sourceAddress],
    ["user.create", AuditActorType.USER, service.admin.id, requestId, "127.0.0.1"],
  );
  assert.deepEqual(event?.after, { role: "viewer", email, displayName: "Ann Example" });
});

test("of a service that acts in somebody's name both are recorded, and found by either", async () => {
  const [serviceId, userId] = [uuidv4(), uuidv4()];
  const author = { type: "service", id: serviceId, onBehalfOf: userId } as const;
  const targetId = await addEvent(service.core.storage, service.organizationId, {}, author);
  for (const actorId of [serviceId, userId]) {
    const { events } = await audit().listAuditEvents({ actorId });
    assert.deepEqual(
      events.map((event) => [event.targetId, event.actorId, event.onBehalfOf]),
      [[targetId, serviceId, userId]],
    );
  }
});

test("one change can be in the records of several organizations, in one transaction", async () => {
  const other = await addOrganization(service.core);
  const targetId = uuidv4();
  await mutate(service.core.storage, { type: "operator", id: "test" }, async () => ({
    result: undefined,
    event: [service.organizationId, other, undefined].map((organizationId) => ({
      organizationId,
      action: "test.change",
      targetId,
      detail: {},
    })),
    tags: [],
  }));
  const rows = await query<{ xmin: string }>(
    service.connection,
    "select distinct xmin::text from audit_events where target_id = $1",
    [targetId],
  );
  assert.equal(rows.length, 1);
  for (const record of [service.organizationId, other, "platform"]) {
    const { events } = await audit(internal).listAuditEvents({ record, targetId });
    assert.equal(events.length, 1, record);
  }
});

test("no event's own row tells of a person, and what is erased is gone from every table while the record holds", async () => {
  const { id, email } = await createdUser();
  await refusedWith(
    "EMAIL_TAKEN",
    service.client(UserService, admin).createUser({ email, role: "viewer", password: password.text }),
  );
  const newPassword = `${password.text}!`;
  await service.client(UserService).changePassword({ email, currentPassword: password.text, newPassword });
  await service.logIn(email, newPassword);
  await sealing.sealer().seal();
  const rows = await query<{ text: string }>(
    service.connection,
    "select e::text as text from audit_events e",
  );
  for (const personal of [email, "Ann Example", "127.0.0.1"]) {
    assert.ok(
      rows.every(({ text }) => !text.includes(personal)),
      personal,
    );
  }
  await service.core.storage.fork().transactional((em) => erasePersonalData(em, id));
  const kept = await query<{ text: string }>(
    service.connection,
    "select p::text as text from audit_personal_data p where user_id = $1 and (salt is not null or data is not null)",
    [id],
  );
  assert.deepEqual(kept, []);
  const left = await query<{ text: string }>(
    service.connection,
    "select p::text as text from audit_personal_data p",
  );
  assert.ok(left.every(({ text }) => !text.includes(email)));
  const { events } = await audit().listAuditEvents({ targetId: id, actionPrefix: "user.create" });
  // What was told of the one who did it stays.
  assert.deepEqual(
    events.map(({ after, sourceAddress, personalDataErased }) => ({
      after,
      sourceAddress,
      personalDataErased,
    })),
    [{ after: { role: "viewer" }, sourceAddress: "127.0.0.1", personalDataErased: true }],
  );
  assert.equal((await sealing.verify(service.organizationId)).fault, undefined);
});

test("events are listed newest first, page by page, through every filter, each once", async () => {
  const organizationId = await addOrganization(service.core);
  const { storage } = service.core;
  const actor = { type: "service", id: uuidv4() } as const;
  const targets: string[] = [];
  for (let at = 0; at < 7; at++) {
    const action = at % 2 === 0 ? "even.change" : "odd.change";
    targets.unshift(await addEvent(storage, organizationId, { action }, at < 4 ? actor : undefined));
  }
  const list = async (filter: object) => {
    const found: string[] = [];
    let pageToken = "";
    do {
      const page = await audit(internal).listAuditEvents({
        organizationId,
        pageSize: 2,
        pageToken,
        ...filter,
      });
      found.push(...page.events.map(({ targetId }) => targetId));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return found;
  };
  assert.deepEqual(await list({}), targets);
  assert.deepEqual(
    await list({ actionPrefix: "even." }),
    targets.filter((_, at) => at % 2 === 0),
  );
  assert.deepEqual(await list({ actorId: actor.id }), targets.slice(3));
  assert.deepEqual(await list({ actorId: actor.id, actionPrefix: "odd" }), [targets[3], targets[5]]);
  assert.deepEqual(await list({ targetId: targets[2] ?? "" }), [targets[2]]);
  const times = await query<{ time: Date }>(
    service.connection,
    "select date_trunc('milliseconds', occur_time) as time from audit_events where organization_id = $1 order by occur_time desc, id desc",
    [organizationId],
  );
  const [startTime, endTime] = [5, 2].map((at) => timestampFromDate(times[at]?.time ?? assert.fail()));
  const between = await list({ startTime, endTime });
  assert.ok(between.includes(targets[5] ?? "") && !between.includes(targets[1] ?? ""));
});

test("a page token goes on with its own filters and its own record only", async () => {
  const organizationId = await addOrganization(service.core);
  for (let at = 0; at < 3; at++) {
    await addEvent(service.core.storage, organizationId);
    await addEvent(service.core.storage, service.organizationId);
  }
  const { nextPageToken: pageToken } = await audit(internal).listAuditEvents({ organizationId, pageSize: 1 });
  assert.notEqual(pageToken, "");
  for (const other of [
    { organizationId: service.organizationId },
    { organizationId, actionPrefix: "test." },
  ]) {
    await refusedWith(
      "PAGE_TOKEN_INVALID",
      audit(internal).listAuditEvents({ ...other, pageSize: 1, pageToken }),
    );
  }
  await refusedWith("PAGE_TOKEN_INVALID", audit(internal).verifyAuditLog({ organizationId, pageToken }));
});

test("another record is read by whoever reads the platform's, be its organization there or not; by nobody else", async () => {
  const gone = uuidv4();
  await addEvent(service.core.storage, gone);
  const platform = await addUser(service.core, {
    organizationId: service.organizationId,
    role: "owner",
    password,
    platformRole: "administrator",
  });
  const bearer = { authorization: `Bearer ${await service.logIn(platform.email, password.text)}` };
  const ownerOnly = await addApiKey(service.core, {
    organizationId: service.organizationId,
    owner: { userId: service.admin.id },
    permissions: ["auth.audit.read"],
  });
  const bound = await addServiceKey(service.core, { permissions: ["auth.audit.read"] });
  for (const record of ["platform", gone, gone.toUpperCase()]) {
    const ask = [
      (headers: Record<string, string>) => audit(headers).listAuditEvents({ record }),
      (headers: Record<string, string>) => audit(headers).verifyAuditLog({ record }),
      (headers: Record<string, string>) => audit(headers).listAuditCheckpoints({ record }),
    ];
    for (const call of ask) {
      await call(bearer);
      await call(internal);
      await refusedWith("PERMISSION_DENIED", call({ "x-api-key": ownerOnly.text }));
      await refusedWith("PERMISSION_DENIED", call({ "x-internal-key": bound.text }));
      await refusedWith("ORGANIZATION_AMBIGUOUS", call({ ...internal, "x-org-id": service.organizationId }));
    }
  }
  const { events } = await audit(bearer).listAuditEvents({ record: gone });
  assert.equal(events.length, 1);
  const both = { record: gone, organizationId: service.organizationId };
  await refusedWith("ORGANIZATION_AMBIGUOUS", audit(bearer).listAuditEvents(both));
});

test("of an organization that was deleted the record stays, whole, for the platform and for nobody else", async () => {
  const organizationId = await addOrganization(service.core, `org ${uuidv4()}`);
  const person = await addUser(service.core, { organizationId, role: "owner", password });
  const before = { authorization: `Bearer ${await service.logIn(person.email, password.text)}` };
  await audit(before).listAuditEvents({});
  const organizations = service.client(OrganizationService, admin);
  const { organization } = await organizations.getOrganization({ id: organizationId });
  const name = organization?.name ?? assert.fail();
  await organizations.deleteOrganization({ id: organizationId, name });
  await sealing.sealer().seal();

  const platform = [
    [admin, { organizationId }],
    [admin, { record: organizationId }],
    [internal, { organizationId }],
    [internal, { record: organizationId }],
  ] as const;
  for (const [headers, asked] of platform) {
    const { events } = await audit(headers).listAuditEvents(asked);
    assert.deepEqual(
      events.map(({ action }) => action),
      ["organization.delete", "session.create"],
    );
    const found = await audit(headers).verifyAuditLog(asked);
    assert.deepEqual([found.fault, found.verifiedEvents, found.unsealedEvents], [undefined, 2n, 0n]);
    assert.equal((await audit(headers).listAuditCheckpoints(asked)).checkpoints.length, 1);
  }
  // It is named, and no credential of its own or of another reaches it.
  const foreign = await addUser(service.core, {
    organizationId: await addOrganization(service.core),
    role: "owner",
    password,
  });
  const bearer = { authorization: `Bearer ${await service.logIn(foreign.email, password.text)}` };
  const calls = [
    (asked: object, headers: Record<string, string>) => audit(headers).listAuditEvents(asked),
    (asked: object, headers: Record<string, string>) => audit(headers).verifyAuditLog(asked),
    (asked: object, headers: Record<string, string>) => audit(headers).listAuditCheckpoints(asked),
  ];
  for (const call of calls) {
    await refusedWith("USER_DISABLED", call({}, before));
    await refusedWith("ORGANIZATION_MISMATCH", call({ organizationId }, bearer));
    await refusedWith("PERMISSION_DENIED", call({ record: organizationId }, bearer));
    await refusedWith("ORGANIZATION_UNKNOWN", call({}, { ...internal, "x-org-id": organizationId }));
    await refusedWith("ORGANIZATION_UNKNOWN", call({ organizationId: uuidv4() }, internal));
  }
  // Nor is anything else of it read or changed.
  const users = service.client(UserService, internal);
  await refusedWith("ORGANIZATION_UNKNOWN", users.listUsers({ organizationId }));
});

test("two replicas that seal at once seal each event once, and changes go on meanwhile", async () => {
  const organizationId = await addOrganization(service.core);
  const beside = await startService({ beside: service });
  try {
    const others = await sealingOf(beside);
    const sealers = [sealing.sealer(), others.sealer(), sealing.sealer()];
    let isOver = false;
    const sealed = sealers.map(async (sealer) => {
      while (!isOver) {
        await sealer.seal();
      }
    });
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let at = 0; at < 15; at++) {
          await addEvent(service.core.storage, organizationId);
        }
      }),
    );
    isOver = true;
    await Promise.all(sealed);
    await sealing.sealer().seal();
  } finally {
    await beside.stop();
  }
  const found = await sealing.verify(organizationId);
  assert.deepEqual([found.fault, found.verifiedEvents, found.unsealedEvents], [undefined, 120n, 0n]);
});

test("changes of one organization wait neither for each other nor for whoever seals", async () => {
  const organizationId = await addOrganization(service.core);
  const { storage } = service.core;
  const slow = new Client(service.connection);
  const sealer = new Client(service.connection);
  await Promise.all([slow.connect(), sealer.connect()]);
  try {
    // One change that does not end, and one that seals and does not end.
    await slow.query("begin");
    await slow.query(
      `insert into audit_events (id, organization_id, actor_type, actor_id, action, target_id, detail)
       values ($1, $2, 'operator', 'test', 'test.slow', 'x', '{}')`,
      [uuidv4(), organizationId],
    );
    await addEvent(storage, organizationId);
    await sealing.sealer().seal();
    assert.equal((await sealing.verify(organizationId)).verifiedEvents, 1n);
    await addEvent(storage, organizationId);
    await sealer.query("begin");
    await sealer.query("select pg_advisory_xact_lock(x'4c616173'::int)");
    await sealer.query("delete from audit_unsealed");
    await addEvent(storage, organizationId);
    await sealer.query("rollback");
    // Whoever ends last comes last.
    await slow.query("commit");
    await sealing.sealer().seal();
  } finally {
    await Promise.all([slow.end(), sealer.end()]);
  }
  const found = await sealing.verify(organizationId);
  assert.deepEqual([found.fault, found.verifiedEvents, found.unsealedEvents], [undefined, 4n, 0n]);
  const { events } = await audit(internal).listAuditEvents({ organizationId });
  assert.equal(events.find(({ action }) => action === "test.slow")?.sequence, 4n);
});

test("a connection that dies while it seals leaves everything to the next one", async () => {
  const organizationId = await addOrganization(service.core);
  for (let at = 0; at < 3; at++) {
    await addEvent(service.core.storage, organizationId);
  }
  // It gets as far as the queue, and waits there for a row that somebody holds.
  const holder = new Client(service.connection);
  await holder.connect();
  await holder.query("begin");
  await holder.query("select from audit_unsealed where chain = $1 for update", [organizationId]);
  const dying = sealing.sealer().seal();
  const failed = dying.then(
    () => assert.fail("it was killed"),
    (error: unknown) => error,
  );
  const waiting = `select pid from pg_stat_activity where application_name = 'latchkey background'
    and datname = current_database() and wait_event_type = 'Lock'`;
  await until("it waits", async () => (await query(service.connection, waiting)).length === 1);
  await query(service.connection, `select pg_terminate_backend(pid) from (${waiting}) as w`);
  assert.ok((await failed) instanceof Error);
  assert.equal((await sealing.verify(organizationId)).verifiedEvents, 0n);
  await holder.query("rollback");
  await holder.end();
  await sealing.sealer().seal();
  const found = await sealing.verify(organizationId);
  assert.deepEqual([found.fault, found.verifiedEvents, found.unsealedEvents], [undefined, 3n, 0n]);
});

test("checkpoints come by number and by time, each once, and can be kept and checked", async () => {
  const organizationId = await addOrganization(service.core);
  const later = sealing.sealer({ pace: { seconds: 3600, events: 4 } });
  const checkpoints = async () =>
    (await audit(internal).listAuditCheckpoints({ organizationId })).checkpoints.map(
      ({ sequence }) => sequence,
    );
  await addEvent(service.core.storage, organizationId);
  await later.seal();
  assert.deepEqual(await checkpoints(), []);
  for (let at = 0; at < 3; at++) {
    await addEvent(service.core.storage, organizationId);
  }
  await later.seal();
  assert.deepEqual(await checkpoints(), [4n]);
  await addEvent(service.core.storage, organizationId);
  await later.seal();
  assert.deepEqual(await checkpoints(), [4n]);
  await query(service.connection, "update audit_due_checkpoints set due_time = now() where chain = $1", [
    organizationId,
  ]);
  await later.seal();
  await later.seal();
  assert.deepEqual(await checkpoints(), [5n, 4n]);
  const {
    checkpoints: [newest],
  } = await audit(internal).listAuditCheckpoints({ organizationId });
  const found = await audit(internal).verifyAuditLog({ organizationId, checkpoint: newest?.jws ?? "" });
  assert.deepEqual([found.fault, found.verifiedEvents, found.verifiedCheckpoints], [undefined, 5n, 3n]);
});

test("a running service seals by itself, and goes through a long record a part at a time", async () => {
  const organizationId = await addOrganization(service.core);
  await query(
    service.connection,
    `insert into audit_events (id, organization_id, actor_type, actor_id, action, target_id, detail)
     select gen_random_uuid(), $1, 'operator', 'test', 'test.many', at::text, '{}' from generate_series(1, 4500) as at`,
    [organizationId],
  );
  const running = await startService({
    beside: service,
    auditTimes: { sealMillis: 20, refusalMillis: 2 ** 31 - 1 },
  });
  try {
    await until("all are sealed", async () => {
      const sql = "select from audit_unsealed where chain = $1 limit 1";
      return (await query(service.connection, sql, [organizationId])).length === 0;
    });
  } finally {
    await running.stop();
  }
  let calls = 0;
  let found = await audit(internal).verifyAuditLog({ organizationId });
  for (; found.nextPageToken !== ""; calls++) {
    assert.equal(found.fault, undefined);
    found = await audit(internal).verifyAuditLog({ organizationId, pageToken: found.nextPageToken });
  }
  assert.deepEqual([found.fault, found.verifiedEvents], [undefined, 4500n]);
  assert.ok(calls >= 2);
});
