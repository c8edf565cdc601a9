import assert from "node:assert/strict";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { query } from "../support/cluster.ts";
import type { Tenant } from "./actors.ts";

/** What there is that is not one tenant's: of other tenants, of the platform, and of whoever belongs to neither. */
export async function everythingElse(
  connection: DatabaseConnection,
  asked: {
    readonly tenant: Tenant;
    /** The ids of the tenant's people who make calls. */
    readonly callers: readonly string[];
    readonly others: Tenant;
    /** By which others are known. */
    readonly marks: readonly string[];
  },
): Promise<readonly { readonly table: string; readonly row: string }[]> {
  const { tenant, others, callers, marks } = asked;
  const statements = Object.entries(NOT_THEIRS).map(
    ([table, where]) => `select '${table}' as table, t::text as row from ${table} t where ${where}`,
  );
  return await query(connection, `${statements.join(" union all ")} order by 1, 2`, [
    tenant.id,
    others.id,
    callers,
    marks,
  ]);
}

/** The keys of other tenants. */
const OTHERS_KEYS = "(select id from api_keys where organization_id <> $1::uuid)";

/** Of each table, which rows are not the tenant's, by the parameters of `everythingElse()`. */
const NOT_THEIRS: Readonly<Record<string, string>> = {
  organizations: "id <> $1::uuid",
  memberships: "organization_id <> $1::uuid",
  roles: "organization_id <> $1::uuid",
  api_keys: "organization_id <> $1::uuid",
  api_key_slots: "organization_id <> $1::uuid",
  sessions: "organization_id is distinct from $1::uuid",
  refresh_tokens: "organization_id <> $1::uuid",
  // Whoever is a member of another tenant, and who is anything to the platform.
  users: `platform_role is not null
    or id in (select user_id from memberships where organization_id = $2::uuid)`,
  audit_events: "organization_id is distinct from $1::uuid",
  audit_personal_data:
    "event_id in (select id from audit_events where organization_id is distinct from $1::uuid)",
  audit_unsealed: "chain <> $1::uuid",
  audit_seals: "chain <> $1::uuid",
  audit_checkpoints: "chain <> $1::uuid",
  audit_due_checkpoints: "chain <> $1::uuid",
  audit_keys: "true",
  audit_erasures: "user_id in (select user_id from memberships where organization_id = $2::uuid)",
  permissions: "true",
  service_keys: "true",
  service_key_slots: "true",
  signing_keys: "true",
  peppers: "true",
  imported_key_formats: "true",
  imported_key_hashes: "organization_id <> $1::uuid",
  idempotency_keys: "caller_id <> all($3::uuid[])",
  key_usage: `key_id in ${OTHERS_KEYS}`,
  key_rate_windows: `key_id in ${OTHERS_KEYS}`,
  // What is to be asked about anew. Of a person that is in all organizations, since they are known in all.
  changes: `exists (select from unnest(tags) tag where tag in ('catalogue', 'key_formats')
    or (tag not like 'user:%' and split_part(tag, ':', 2) = any($4::text[])))`,
  change_horizon: "true",
  latchkey_deployment: "true",
  latchkey_migrations: "true",
};

/** Which replicas there are, and how many logins failed, whoever's they were: nobody's. */
const NOBODYS = ["login_counters", "login_sources", "rate_limit_replicas"];

/** That no table was forgotten here. */
export async function requireEveryTable(connection: DatabaseConnection): Promise<void> {
  const tables = await query<{ name: string }>(
    connection,
    "select tablename as name from pg_tables where schemaname = current_schema()",
  );
  assert.deepEqual(
    tables.map(({ name }) => name).toSorted(),
    [...Object.keys(NOT_THEIRS), ...NOBODYS].toSorted(),
  );
}
