import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once as onceEvent } from "node:events";
import { type AddressInfo, createServer, connect as toSocket } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { OrganizationService } from "../../src/gen/latchkey/v1/organization_pb.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";

let service: TestService;
let replica: TestService;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const byInternalKey = (at: TestService = service) =>
  at.client(OrganizationService, { "x-internal-key": service.internalKey });
const byAdministrator = async () =>
  service.client(OrganizationService, { authorization: `Bearer ${await service.logIn()}` });

async function countOf(name: string): Promise<number> {
  const sql = "select count(*)::int as count from organizations where name = $1";
  const [row] = await query<{ count: number }>(service.connection, sql, [name]);
  return row?.count ?? 0;
}

const fresh = () => ({ name: `org ${randomUUID()}`, idempotencyKey: randomUUID() });

test("a retry gets the same answer, on another replica too, and nothing is made again", async () => {
  const request = fresh();
  const first = await byInternalKey().createOrganization(request);
  assert.deepEqual(await byInternalKey().createOrganization(request), first);
  assert.deepEqual(await byInternalKey(replica).createOrganization(request), first);
  assert.equal(await countOf(request.name), 1);
  const sql = "select count(*)::int as count from audit_events where target_id = $1";
  const events = await query(service.connection, sql, [first.organization?.id]);
  assert.deepEqual(events, [{ count: 1 }]);
});

test("another request under the same key is refused, and makes nothing", async () => {
  const request = fresh();
  await byInternalKey().createOrganization(request);
  const other = { ...request, name: `${request.name} again` };
  await refusedWith("IDEMPOTENCY_KEY_REUSED", byInternalKey().createOrganization(other));
  assert.equal(await countOf(other.name), 0);
});

test("the entries of a map come in any order: a retry that has another one is the same request", async () => {
  const client = service.client(ApiKeyService, {
    "x-internal-key": service.internalKey,
    "x-org-id": service.organizationId,
  });
  const request = { name: "retried", permissions: ["calls.read"], idempotencyKey: randomUUID() };
  const first = await client.createApiKey({ ...request, metadata: { entries: { a: "1", b: "2" } } });
  assert.deepEqual(
    await client.createApiKey({ ...request, metadata: { entries: { b: "2", a: "1" } } }),
    first,
  );
  const other = { ...request, metadata: { entries: { a: "2", b: "1" } } };
  await refusedWith("IDEMPOTENCY_KEY_REUSED", client.createApiKey(other));
});

test("a key is its caller's own: another one's create is another create", async () => {
  const request = fresh();
  await byInternalKey().createOrganization(request);
  const client = await byAdministrator();
  await refusedWith("ORGANIZATION_NAME_TAKEN", client.createOrganization(request));
  const other = { ...request, name: `${request.name} again` };
  await client.createOrganization(other);
  assert.equal(await countOf(other.name), 1);
});

test("thirty retries at once over two replicas make one thing and get one answer", async () => {
  const request = fresh();
  const answers = await Promise.all(
    Array.from({ length: 30 }, (_, at) =>
      byInternalKey(at % 2 === 0 ? service : replica).createOrganization(request),
    ),
  );
  assert.equal(new Set(answers.map(({ organization }) => organization?.id)).size, 1);
  assert.equal(await countOf(request.name), 1);
});

test("different requests at once under one key: one is carried out, the others are refused", async () => {
  const { name, idempotencyKey } = fresh();
  const outcomes = await Promise.allSettled(
    Array.from({ length: 10 }, (_, at) =>
      byInternalKey(at % 2 === 0 ? service : replica).createOrganization({
        name: `${name} ${at}`,
        idempotencyKey,
      }),
    ),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  const sql = "select count(*)::int as count from organizations where name like $1";
  assert.deepEqual(await query(service.connection, sql, [`${name} %`]), [{ count: 1 }]);
});

test("a refused create is not remembered: what was wrong can be mended", async () => {
  const taken = fresh();
  await byInternalKey().createOrganization({ ...taken, idempotencyKey: "" });
  await refusedWith("ORGANIZATION_NAME_TAKEN", byInternalKey().createOrganization(taken));
  const mended = { ...taken, name: `${taken.name} mended` };
  await byInternalKey().createOrganization(mended);
  assert.equal(await countOf(mended.name), 1);
});

test("after ten minutes a key is as good as new, and what was kept is gone", async () => {
  const request = fresh();
  await byInternalKey().createOrganization(request);
  const age = "update idempotency_keys set create_time = create_time - interval '10 minutes 1 second'";
  await query(service.connection, age);
  const other = { ...request, name: `${request.name} later` };
  await byInternalKey().createOrganization(other);
  await query(service.connection, age);
  await byInternalKey().createOrganization(fresh());
  const rows = await query(service.connection, "select count(*)::int as count from idempotency_keys");
  assert.deepEqual(rows, [{ count: 1 }]);
});

describe("what is kept", () => {
  test("shows neither the request nor the answer", async () => {
    const request = fresh();
    await byInternalKey().createOrganization(request);
    const sql = "select row_to_json(k)::text as text from idempotency_keys k where idempotency_key = $1";
    const [row] = await query<{ text: string }>(service.connection, sql, [request.idempotencyKey]);
    assert.ok(row);
    assert.ok(!row.text.includes(Buffer.from(request.name).toString("hex")));
    assert.ok(!row.text.includes(request.name));
  });

  test("opens only where it lies: an answer that was moved to another key is a fault, not an answer", async () => {
    const [one, other] = [fresh(), fresh()];
    await byInternalKey().createOrganization(one);
    await byInternalKey().createOrganization(other);
    await query(
      service.connection,
      `update idempotency_keys k set sealed_answer = o.sealed_answer from idempotency_keys o
       where k.idempotency_key = $1 and o.idempotency_key = $2`,
      [one.idempotencyKey, other.idempotencyKey],
    );
    await refusedWith("INTERNAL", byInternalKey().createOrganization(one));
  });
});

test("a create whose COMMIT was carried out and never answered is found by its retry", async () => {
  await using stack = new AsyncDisposableStack();
  const proxy = await startCommitCutter(stack, join(service.connection.host ?? "", ".s.PGSQL.5432"));
  const behind = { ...service, connection: { ...service.connection, host: "127.0.0.1", port: proxy.port } };
  const far = await startService({ beside: behind });
  stack.defer(() => far.stop());

  const request = fresh();
  proxy.cutNextCommit();
  await assert.rejects(byInternalKey(far).createOrganization(request), ConnectError);
  assert.equal(proxy.cuts, 1);
  assert.equal(await countOf(request.name), 1);
  const { organization } = await byInternalKey(far).createOrganization(request);
  assert.equal(organization?.name, request.name);
  assert.equal(await countOf(request.name), 1);
});

/** Something before the database that can lose its word that a transaction is committed. */
async function startCommitCutter(stack: AsyncDisposableStack, database: string) {
  let isArmed = false;
  let cuts = 0;
  const server = createServer((near) => {
    const far = toSocket(database);
    near.on("error", () => {}).on("close", () => far.destroy());
    far.on("error", () => {}).on("close", () => near.destroy());
    near.pipe(far);
    far.on("data", (bytes) => {
      if (isArmed && bytes.includes("COMMIT\0")) {
        isArmed = false;
        cuts++;
        near.destroy();
      } else {
        near.write(bytes);
      }
    });
  }).listen(0, "127.0.0.1");
  await onceEvent(server, "listening");
  stack.defer(() => void server.close());
  return {
    port: (server.address() as AddressInfo).port,
    cutNextCommit() {
      isArmed = true;
    },
    get cuts() {
      return cuts;
    },
  };
}
