import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { Role } from "../permissions/role-entity.ts";
import type { CheckedUser } from "./user-to-import.ts";

/** Somebody whose email is known. */
export interface KnownUser {
  readonly id: string;
  /** Of what they were imported with; null where they were not. */
  readonly digest: string | null;
}

/** Those of the emails that are known. */
export async function findKnownUsers(
  em: EntityManager,
  emails: readonly string[],
): Promise<ReadonlyMap<string, KnownUser>> {
  const rows = await em.execute<(KnownUser & { email: string })[]>(
    `select email, id, encode(import_digest, 'hex') as digest from users
    where email in (select jsonb_array_elements_text(?))`,
    [JSON.stringify(emails)],
  );
  return new Map(rows.map((row) => [row.email, row]));
}

export type RoleName = Pick<CheckedUser, "organizationId" | "role">;

export const roleKeyOf = ({ organizationId, role }: RoleName): string => `${organizationId} ${role}`;

/**
 * The roles of these names, held until the unit of work is done: none is deleted, and none comes to allow more, before
 * somebody has it.
 */
export async function holdRoles(
  em: EntityManager,
  names: readonly RoleName[],
): Promise<ReadonlyMap<string, Role>> {
  const distinct = new Map(
    names.map(({ organizationId, role }) => [roleKeyOf({ organizationId, role }), { organizationId, role }]),
  );
  const rows: { id: string }[] = await em.execute(
    `select r.id from roles r
    join jsonb_to_recordset(?) as asked ("organizationId" uuid, role text)
      on asked."organizationId" = r.organization_id and asked.role = r.name
    order by r.id for share of r`,
    [JSON.stringify([...distinct.values()])],
  );
  const roles = await em.find(Role, { id: { $in: rows.map(({ id }) => id) } }, { refresh: true });
  return new Map(roles.map((role) => [roleKeyOf({ ...role, role: role.name }), role]));
}

/** A new account, and its membership. */
export interface UserRow extends CheckedUser {
  readonly id: string;
  readonly roleId: string;
}

/**
 * The rows of new people, who are members at once. An email that somebody takes meanwhile stays theirs.
 *
 * @returns the ids of those who were inserted.
 */
export async function insertUsers(
  em: EntityManager,
  users: readonly UserRow[],
): Promise<ReadonlySet<string>> {
  const rows = users.map(({ id, email, displayName, organizationId, roleId, passwordHash, digest }) => ({
    id,
    membershipId: uuidv7(),
    email,
    displayName,
    organizationId,
    roleId,
    passwordHash,
    digest,
  }));
  // A connection keeps its plans for foreign keys: one that was made for a table of a few rows reads all of it for
  // each of ten thousand.
  await em.execute("discard plans");
  // In one order: of two imports that have emails in common, one waits for the other.
  const inserted: { id: string }[] = await em.execute(
    `with rows as (
      select * from jsonb_to_recordset(?) as r (id uuid, "membershipId" uuid, email text, "displayName" text,
        "organizationId" uuid, "roleId" uuid, "passwordHash" text, digest text)
    ), accounts as (
      insert into users (id, email, password_hash, import_digest, home_organization_id)
      select id, email, "passwordHash", decode(digest, 'hex'), "organizationId" from rows order by email
      on conflict (email) do nothing
      returning id
    )
    insert into memberships (id, organization_id, user_id, role_id, display_name, accept_time)
    select "membershipId", "organizationId", id, "roleId", "displayName", now()
    from rows join accounts using (id)
    returning user_id as id`,
    [JSON.stringify(rows)],
  );
  return new Set(inserted.map(({ id }) => id));
}
