import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { Client as DatabaseClient } from "pg";
import { runCancellable } from "../../src/storage/cancellation.ts";
import { query } from "../support/cluster.ts";
import {
  ApiKeyService,
  AuthenticationService,
  startService,
  type TestService,
  transportTo,
  WIRES,
} from "../support/service.ts";
import { until } from "../support/until.ts";

let service: TestService;
before(async () => {
  // Each call asks the database, which is there to be waited for.
  service = await startService({ memoryBytes: 0 });
  // The first call of all connects to the database, which may take longer than a deadline of these tests.
  await service.client(AuthenticationService).authenticate({
    headers: [{ name: "X-API-Key", value: service.apiKey }],
  });
});
after(() => service.stop());

/** Makes every statement about keys wait, until it is released. */
async function blockKeys(): Promise<() => Promise<void>> {
  const blocker = new DatabaseClient(service.connection);
  await blocker.connect();
  await blocker.query("begin; lock table api_keys, api_key_slots in access exclusive mode");
  return async () => {
    await blocker.query("rollback");
    await blocker.end();
  };
}

const waiting = async () => {
  const rows = await query<{ count: string }>(
    service.connection,
    `select count(*) from pg_stat_activity
      where datname = current_database() and application_name like 'latchkey%' and wait_event_type = 'Lock'`,
  );
  return Number(rows[0]?.count);
};

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => "answered",
    (error: unknown) => Code[ConnectError.from(error).code],
  );

for (const { protocol, http } of WIRES) {
  describe(`${protocol} over HTTP/${http}`, () => {
    const client = () => createClient(AuthenticationService, transportTo(service.url, protocol, http));
    const ask = () => ({ headers: [{ name: "X-API-Key", value: service.apiKey }] });

    test("a deadline ends the statement in the database", async () => {
      const release = await blockKeys();
      try {
        const call = codeOf(client().authenticate(ask(), { timeoutMs: 400 }));
        await until("the statement waits", async () => (await waiting()) === 1);
        assert.equal(await call, "DeadlineExceeded");
        await until("the statement is cancelled", async () => (await waiting()) === 0);
      } finally {
        await release();
      }
      assert.equal(await codeOf(client().authenticate(ask())), "answered");
    });

    test("a client that hangs up ends the statement in the database", async () => {
      const release = await blockKeys();
      try {
        const hangUp = new AbortController();
        const call = codeOf(client().authenticate(ask(), { signal: hangUp.signal }));
        await until("the statement waits", async () => (await waiting()) === 1);
        hangUp.abort();
        assert.equal(await call, "Canceled");
        await until("the statement is cancelled", async () => (await waiting()) === 0);
      } finally {
        await release();
      }
    });
  });
}

test("a change that is given up half-way leaves nothing, and its connection is fit for the next", async () => {
  const counts = () =>
    query(service.connection, "select (select count(*) from api_keys), (select count(*) from audit_events)");
  const manager = service.client(ApiKeyService, { authorization: `Bearer ${await service.logIn()}` });
  const key = { name: "x", permissions: ["calls.read"] };
  const before = await counts();
  const blocker = new DatabaseClient(service.connection);
  await blocker.connect();
  // The key's rows are written by then; its audit event is not.
  await blocker.query("begin; lock table audit_events in exclusive mode");
  try {
    const hangUp = new AbortController();
    const call = codeOf(manager.createApiKey(key, { signal: hangUp.signal }));
    await until("the statement waits", async () => (await waiting()) === 1);
    hangUp.abort();
    assert.equal(await call, "Canceled");
    await until("the statement is cancelled", async () => (await waiting()) === 0);
  } finally {
    await blocker.query("rollback");
    await blocker.end();
  }
  assert.deepEqual(await counts(), before);
  assert.equal(await codeOf(manager.createApiKey(key)), "answered");
});

test("a login whose client has hung up is not hashed any more", async () => {
  const { passwordHasher } = service.core;
  const gone = AbortSignal.abort(new Error("gone"));
  await assert.rejects(
    runCancellable(gone, () => passwordHasher.verify("whatever it is", undefined)),
    /gone/,
  );
});
