import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { query } from "../support/cluster.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

const create = async (signal?: AbortSignal) => {
  const keys = service.client(ApiKeyService, {
    "x-internal-key": service.internalKey,
    "x-org-id": service.organizationId,
  });
  return await keys.createApiKey(
    { name: "key", permissions: ["calls.read"] },
    { ...(signal !== undefined && { signal }) },
  );
};

/** As many changes at once as there are connections to manage with, and more. */
const all = () => Promise.all(Array.from({ length: 20 }, () => create()));

test("calls that are given up at every moment leave no connection behind", async () => {
  for (let round = 0; round < 15; round++) {
    await Promise.allSettled(
      Array.from({ length: 10 }, (_, at) => create(AbortSignal.timeout(1 + round * 2 + at))),
    );
  }
  await all();
});

test("connections that the server ends in the middle of changes are replaced, every one of them", async () => {
  let isOver = false;
  const change = async () => {
    while (!isOver) {
      await create().catch(() => {});
    }
  };
  const load = Array.from({ length: 12 }, change);
  for (let round = 0; round < 15; round++) {
    await query(
      service.connection,
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name like 'latchkey%'`,
    );
    await delay(20);
  }
  isOver = true;
  await Promise.all(load);
  await all();
});

test("what was given up or cut is done wholly or not at all", async () => {
  const rows = await query<{ keys: number; slots: number; events: number }>(
    service.connection,
    `select (select count(*)::int from api_keys) as keys, (select count(*)::int from api_key_slots) as slots,
      (select count(*)::int from audit_events where action = 'api_key.create') + 1 as events`,
  );
  const { keys, slots, events } = rows[0] ?? {};
  // One key was there before, without an event.
  assert.deepEqual([slots, events], [keys, keys]);
});
