import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { openCore } from "../../src/app.ts";
import { erasePersonalData } from "../../src/audit/erase-personal-data.ts";
import { pruneChanges } from "../../src/changes/prune-changes.ts";
import { AuditService } from "../../src/gen/latchkey/v1/audit_pb.ts";
import { createLog } from "../../src/server/log.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { migrate } from "../../src/storage/migrate.ts";
import { createDatabase, query } from "../support/cluster.ts";
import { ApiKeyService, startService, type TestService, UserService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { sealingOf } from "./sealing.ts";

// The service runs as the role that deploy/database-role.sql is for.

const role = `latchkey_${uuidv4().replaceAll("-", "")}`;
let owner: DatabaseConnection;
let service: TestService;

before(async () => {
  owner = await createDatabase();
  await query(owner, `create role ${role} login`);
  const sql = readFileSync("deploy/database-role.sql", "utf8").replaceAll(':"role"', role);
  await query(owner, sql);
  service = await startService({ connection: { ...owner, user: role } });
});
after(async () => {
  await service?.stop();
  await query(owner, `drop owned by ${role}; drop role ${role}`);
});

test("the service works: it changes, records, seals, signs, verifies and erases", async () => {
  const admin = { authorization: `Bearer ${await service.logIn()}` };
  const apiKeys = service.client(ApiKeyService, admin);
  const { apiKey } = await apiKeys.createApiKey({ name: "key", permissions: ["calls.read"] });
  await apiKeys.revokeApiKey({ id: apiKey?.id ?? "" });
  const { user } = await service
    .client(UserService, admin)
    .createUser({ email: "ann@acme.test", role: "viewer", password: service.admin.password });
  const sealing = await sealingOf(service);
  await sealing.sealer().seal();
  await service.core.storage.fork().transactional((em) => erasePersonalData(em, user?.id ?? ""));
  const found = await service.client(AuditService, admin).verifyAuditLog({});
  assert.equal(found.fault, undefined);
  assert.deepEqual([found.verifiedEvents, found.verifiedCheckpoints, found.unsealedEvents], [4n, 1n, 0n]);
});

test("it hears of changes, and deletes those that are old", async () => {
  const admin = { authorization: `Bearer ${await service.logIn()}` };
  const apiKeys = service.client(ApiKeyService, admin);
  await until("a revision is told", async () => {
    const { revision } = await apiKeys.createApiKey({ name: "heard of", permissions: ["calls.read"] });
    return revision !== "";
  });
  await query(owner, "update changes set change_time = now() - interval '2 hours'");
  assert.ok((await pruneChanges(service.core.storage)) > 0);
});

test("it may neither change nor delete what is recorded", async () => {
  const connection = { ...owner, user: role };
  for (const table of [
    "audit_events",
    "audit_personal_data",
    "audit_seals",
    "audit_checkpoints",
    "audit_keys",
  ]) {
    assert.ok((await query(owner, `select from ${table}`)).length > 0, table);
    const columns = await query<{ name: string }>(
      owner,
      "select column_name as name from information_schema.columns where table_schema = 'public' and table_name = $1",
      [table],
    );
    const erasable = table === "audit_personal_data" ? ["salt", "data"] : [];
    for (const { name } of columns.filter(({ name }) => !erasable.includes(name))) {
      await assert.rejects(
        query(connection, `update ${table} set ${name} = default`),
        /permission denied/,
        name,
      );
    }
    await assert.rejects(query(connection, `delete from ${table}`), /permission denied/, table);
    await assert.rejects(query(connection, `truncate ${table}`), /permission denied/, table);
    await assert.rejects(
      query(connection, `alter table ${table} disable trigger all`),
      /must be owner/,
      table,
    );
    await assert.rejects(query(connection, `drop table ${table}`), /must be owner/, table);
  }
});

test("it starts as that role too, with what is there, and finds nothing to migrate", async () => {
  assert.deepEqual(await migrate({ ...owner, user: role }, "production"), []);
  const core = await openCore(
    { connection: { ...owner, user: role }, encryptionKey: service.encryptionKey, passwordMinimumLength: 15 },
    createLog("silent", { write: () => {} }),
  );
  await core.storage.ping();
  await core.storage.close();
});
