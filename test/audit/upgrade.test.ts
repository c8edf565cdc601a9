import assert from "node:assert/strict";
import { test } from "node:test";
import { pino } from "pino";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import { openCore } from "../../src/app.ts";
import { loadAuditKeys } from "../../src/audit/audit-keys.ts";
import { AuditSealer } from "../../src/audit/audit-sealer.ts";
import { erasePersonalData } from "../../src/audit/erase-personal-data.ts";
import { verifyAuditLog } from "../../src/audit/verify-audit-log.ts";
import { migrate } from "../../src/storage/migrate.ts";
import { Initial } from "../../src/storage/migrations/0001-initial.ts";
import { Audit } from "../../src/storage/migrations/0011-audit.ts";
import { createDatabase, query } from "../support/cluster.ts";
import { ISSUER } from "../support/service.ts";

test("events of before are sealed too, with what they said of people moved to where it can be erased", async () => {
  const connection = await createDatabase("empty");
  const statementsOf = (made: Initial | Audit) => {
    made.up();
    return made.getQueries().map(String);
  };
  const none = undefined as never;
  for (const statement of statementsOf(new Initial(none, none))) {
    await query(connection, statement);
  }
  const [organizationId, userId, rootId] = [uuidv7(), uuidv4(), uuidv4()];
  await query(connection, "insert into users (id, email, password_hash) values ($1, 'root@acme.test', '')", [
    rootId,
  ]);
  const before = [
    ["user.create", userId, { after: { email: "ann@acme.test", displayName: "Ann", role: "viewer" } }],
    ["administrator.bootstrap", rootId, { email: "root@acme.test", replaced: [userId] }],
    ["development.seed", organizationId, { email: "root@acme.test" }],
    ["role.create", uuidv7(), { after: { name: "role", permissions: [] } }],
  ] as const;
  for (const [action, targetId, detail] of before) {
    await query(
      connection,
      `insert into audit_events (id, organization_id, actor_type, actor_id, action, target_id, detail)
       values ($1, $2, 'operator', 'test', $3, $4, $5)`,
      [uuidv7(), organizationId, action, targetId, JSON.stringify(detail)],
    );
  }
  for (const statement of statementsOf(new Audit(none, none))) {
    await query(connection, statement);
  }
  const rows = await query<{ detail: unknown; data: string | null; user_id: string | null }>(
    connection,
    `select detail, data, user_id from audit_events e left join audit_personal_data p on p.event_id = e.id
     order by e.id`,
  );
  assert.deepEqual(
    rows.map(({ detail, data, user_id }) => ({
      detail,
      data: data === null ? null : JSON.parse(data),
      user_id,
    })),
    [
      {
        detail: { after: { role: "viewer" } },
        data: { after: { email: "ann@acme.test", displayName: "Ann" } },
        user_id: userId,
      },
      { detail: { replaced: [userId] }, data: { after: { email: "root@acme.test" } }, user_id: rootId },
      { detail: {}, data: { after: { email: "root@acme.test" } }, user_id: rootId },
      { detail: { after: { name: "role", permissions: [] } }, data: null, user_id: null },
    ],
  );
  await sealsAndVerifies(organizationId, rootId, await newestWith(connection));
});

/** The same record in a database that the service can be opened on. */
async function newestWith(old: Awaited<ReturnType<typeof createDatabase>>) {
  const connection = await createDatabase();
  for (const table of ["audit_events", "audit_personal_data"]) {
    const [columns] = await query<{ names: string }>(
      old,
      `select string_agg(column_name, ', ') as names from information_schema.columns
       where table_schema = 'public' and table_name = $1 and is_generated = 'NEVER'`,
      [table],
    );
    const [rows] = await query<{ list: unknown }>(old, `select json_agg(t) as list from ${table} t`);
    await query(
      connection,
      `insert into ${table} (${columns?.names}) select ${columns?.names} from json_populate_recordset(null::${table}, $1)`,
      [JSON.stringify(rows?.list)],
    );
  }
  return connection;
}

async function sealsAndVerifies(
  chain: string,
  userId: string,
  connection: Awaited<ReturnType<typeof createDatabase>>,
): Promise<void> {
  const log = pino({ level: "silent" });
  await migrate(connection, "production");
  const core = await openCore(
    { connection, encryptionKey: Buffer.alloc(32, 7), passwordMinimumLength: 15 },
    log,
  );
  try {
    const keys = await loadAuditKeys(core.storage, core.seal);
    await new AuditSealer({ storage: core.storage, keys, issuer: ISSUER, log }).seal();
    await core.storage.fork().transactional((em) => erasePersonalData(em, userId));
    const parts = { ...core, auditKeys: keys };
    const { fault, verifiedEvents } = await verifyAuditLog(parts, chain, { pageToken: "", checkpoint: "" });
    assert.deepEqual([fault, verifiedEvents], [undefined, 4n]);
    const left = await query(
      connection,
      "select from audit_personal_data where data like '%root@acme.test%'",
    );
    assert.equal(left.length, 0);
  } finally {
    await core.storage.close();
  }
}
