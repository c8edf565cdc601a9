import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { raw } from "@mikro-orm/core";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import { type Event, type Mutation, mutate, type Tag } from "../../src/changes/mutate.ts";
import { Organization } from "../../src/organizations/organization-entity.ts";
import type { Storage } from "../../src/storage/open-storage.ts";
import { query } from "../support/cluster.ts";
import { startService, type TestService } from "../support/service.ts";

const AUTHOR = { type: "operator", id: "test" } as const;

let service: TestService;
let storage: Storage;
before(async () => {
  service = await startService();
  ({ storage } = service.core);
  // Refuses the next row of a table that says so in a setting of its own.
  await query(
    service.connection,
    `create function refuse() returns trigger language plpgsql as $$
     begin raise exception 'refused by %', tg_table_name; end $$`,
  );
});
after(() => service.stop());

beforeEach(async () => {
  await query(service.connection, "delete from audit_events; delete from changes");
});

async function whileRefusing(table: string, timing: string, work: () => Promise<void>): Promise<void> {
  await query(
    service.connection,
    `create constraint trigger refuse after insert on ${table} ${timing} for each row execute function refuse()`,
  );
  try {
    await work();
  } finally {
    await query(service.connection, `drop trigger refuse on ${table}`);
  }
}

async function nameOf(organizationId: string): Promise<string | undefined> {
  const rows = await query<{ name: string }>(
    service.connection,
    "select name from organizations where id = $1",
    [organizationId],
  );
  return rows[0]?.name;
}

async function written(): Promise<{ audit_events: number; changes: number }> {
  const [row] = await query<{ audit_events: number; changes: number }>(
    service.connection,
    `select (select count(*)::int from audit_events) as audit_events,
       (select count(*)::int from changes) as changes`,
  );
  assert.ok(row);
  return row;
}

const eventOf = (): Event => ({
  organizationId: service.organizationId,
  action: "test.rename",
  targetId: service.organizationId,
  detail: { after: { name: "renamed" } },
});

const NOTHING = { audit_events: 0, changes: 0 };

/** A change by the ORM's unit of work, one past it, and a row that is new. */
const rename = (tags: readonly Tag[], newId = uuidv7()) =>
  mutate<string>(storage, AUTHOR, async (em) => {
    const organization = await em.findOneOrFail(Organization, { id: service.organizationId });
    organization.name = "renamed";
    await em.nativeUpdate(Organization, { id: service.organizationId }, { suspendTime: raw("now()") });
    em.create(Organization, { id: newId, name: "new", nameKey: uuidv4() });
    return { result: newId, event: eventOf(), tags };
  });

test("a change, its audit event and its change row are there together", async () => {
  const id = await rename([`org:${service.organizationId}`]);
  assert.equal(await nameOf(service.organizationId), "renamed");
  assert.equal(await nameOf(id), "new");
  assert.deepEqual(await written(), { audit_events: 1, changes: 1 });
  await query(
    service.connection,
    "update organizations set name = 'acme', suspend_time = null where id = $1",
    [service.organizationId],
  );
});

for (const table of ["audit_events", "changes"]) {
  for (const timing of ["not deferrable", "deferrable initially deferred"]) {
    test(`where the row of ${table} is refused (${timing}), nothing of the change is left`, async () => {
      const id = uuidv7();
      await whileRefusing(table, timing, async () => {
        await assert.rejects(rename([`org:${id}`], id), new RegExp(`refused by ${table}`));
      });
      assert.equal(await nameOf(service.organizationId), "acme");
      assert.equal(await nameOf(id), undefined);
      assert.deepEqual(await written(), NOTHING);
    });
  }
}

test("where the work fails after it has written, nothing is left", async () => {
  const id = uuidv7();
  const failing = mutate(storage, AUTHOR, async (em) => {
    em.create(Organization, { id, name: "new", nameKey: id });
    await em.flush();
    throw new Error("changed my mind");
  });
  await assert.rejects(failing, /changed my mind/);
  assert.equal(await nameOf(id), undefined);
  assert.deepEqual(await written(), NOTHING);
});

test("where things are as asked already, nothing is written, and the result is told", async () => {
  const unchanged: Mutation<string> = { result: "as before", unchanged: true };
  assert.equal(await mutate(storage, AUTHOR, async () => unchanged), "as before");
  assert.deepEqual(await written(), NOTHING);
});

test("a change that nothing cached depends on is recorded, and writes no change row", async () => {
  await rename([]);
  assert.deepEqual(await written(), { audit_events: 1, changes: 0 });
  await query(
    service.connection,
    "update organizations set name = 'acme', suspend_time = null where id = $1",
    [service.organizationId],
  );
});

test("the change row carries the transaction of the change, and every tag as it was given", async () => {
  const tags: Tag[] = [
    `key:${uuidv7()}`,
    "user:'; drop table changes --",
    'org:"{},\\',
    "session:?",
    "session:\u{1f511}",
  ];
  const xid = await mutate<string>(storage, AUTHOR, async (em) => {
    const [row] = await em.execute<[{ xid: string }]>("select pg_current_xact_id()::text as xid");
    return { result: row.xid, event: eventOf(), tags };
  });
  const rows = await query(
    service.connection,
    `select c.xid::text, c.tags, c.xmin::text = e.xmin::text as same
     from changes c, audit_events e`,
  );
  assert.deepEqual(rows, [{ xid, tags, same: true }]);
});

test("the audit event says who did what to whom, when by the database's clock", async () => {
  const event = { ...eventOf(), detail: { text: "'\"\u0007\\", list: [1, null], nested: { "a.b": 1 } } };
  await mutate(storage, AUTHOR, async () => ({ result: undefined, event, tags: [] }));
  const [row] = await query<Record<string, unknown>>(
    service.connection,
    "select *, occur_time between now() - interval '1 minute' and now() as recent from audit_events",
  );
  assert.deepEqual(
    { ...row, id: undefined, occur_time: undefined },
    {
      id: undefined,
      chain: service.organizationId,
      on_behalf_of: null,
      // Nobody's call, and about nobody.
      request_id: "",
      personal_digest: null,
      occur_time: undefined,
      organization_id: service.organizationId,
      actor_type: "operator",
      actor_id: "test",
      action: "test.rename",
      target_id: service.organizationId,
      detail: event.detail,
      recent: true,
    },
  );
});
