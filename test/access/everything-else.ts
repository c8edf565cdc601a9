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
): Promise<Readonly<Record<string, readonly object[]>>> {
  const values: Readonly<Record<string, unknown>> = {
    ...asked,
    tenant: asked.tenant.id,
    others: asked.others.id,
  };
  const found: Record<string, readonly object[]> = {};
  for (const [table, where] of Object.entries(NOT_THEIRS)) {
    const names = Object.keys(values).filter((name) => where.includes(`:${name}`));
    const condition = names.reduce((sql, name, at) => sql.replaceAll(`:${name}`, `$${at + 1}`), where);
    found[table] = await query(
      connection,
      `select t::text as row from ${table} t where ${condition} order by 1`,
      names.map((name) => values[name]),
    );
  }
  return found;
}

/** The keys of other tenants. */
const OTHERS_KEYS = "(select id from api_keys where organization_id <> :tenant)";

/** Of each table, which rows are not the tenant's. */
const NOT_THEIRS: Readonly<Record<string, string>> = {
  organizations: "id <> :tenant",
  memberships: "organization_id <> :tenant",
  roles: "organization_id <> :tenant",
  api_keys: "organization_id <> :tenant",
  api_key_slots: "organization_id <> :tenant",
  sessions: "organization_id <> :tenant",
  // Whoever is a member of another tenant, and who is anything to the platform.
  users: `platform_role is not null
    or id in (select user_id from memberships where organization_id = :others)`,
  audit_events: "organization_id is distinct from :tenant",
  permissions: "true",
  service_keys: "true",
  service_key_slots: "true",
  signing_keys: "true",
  peppers: "true",
  imported_key_formats: "true",
  imported_key_hashes: "organization_id <> :tenant",
  idempotency_keys: "caller_id <> all(:callers)",
  key_usage: `key_id in ${OTHERS_KEYS}`,
  key_rate_windows: `key_id in ${OTHERS_KEYS}`,
  // What is to be asked about anew. Of a person that is in all organizations, since they are known in all.
  changes: `exists (select from unnest(tags) tag where tag in ('catalogue', 'key_formats')
    or (tag not like 'user:%' and split_part(tag, ':', 2) = any(:marks)))`,
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
