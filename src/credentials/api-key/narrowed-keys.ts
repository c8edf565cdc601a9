import type { EntityManager } from "@mikro-orm/postgresql";
import { type Catalogue, expandPatterns } from "../../permissions/permission-pattern.ts";
import { IS_MEMBER } from "../../users/membership-entity.ts";

/** How many are told. */
const MOST = 250;

/** An API key that may do less than before, because whoever it belongs to may. */
export interface NarrowedKey {
  readonly id: string;
  readonly name: string;
  /** Concrete, sorted. */
  readonly lostPermissions: string[];
}

/** Of what role the permissions change, or of whose. */
export interface RoleChange {
  readonly organizationId: string;
  readonly of: { readonly userId: string } | { readonly roleId: string };
  /** Names and patterns. */
  readonly before: readonly string[];
  readonly after: readonly string[];
}

const OWNED_BY = {
  user: "k.owner_user_id = ?",
  role: `k.owner_user_id in (
    select m.user_id from memberships m
    where m.organization_id = k.organization_id and m.role_id = ? and ${IS_MEMBER})`,
};

/** The first 250 live API keys that lose something by a change, the oldest first. */
export async function narrowedKeys(
  em: EntityManager,
  catalogue: Catalogue,
  { organizationId, of, before, after }: RoleChange,
): Promise<NarrowedKey[]> {
  const taken = expandPatterns(before, "role", catalogue).difference(
    expandPatterns(after, "role", catalogue),
  );
  if (taken.size === 0) {
    return [];
  }
  const [ownedBy, ownerId] = "userId" in of ? [OWNED_BY.user, of.userId] : [OWNED_BY.role, of.roleId];
  const keys = `from api_keys k
    where k.organization_id = ? and ${ownedBy} and k.revoke_time is null
      and (k.expire_time is null or k.expire_time > now())`;
  // Many keys are granted the same.
  const grants: { list: string; permissions: string[] }[] = await em.execute(
    `select distinct to_jsonb(k.permissions)::text as list, k.permissions ${keys}`,
    [organizationId, ownerId],
  );
  const losses = new Map(
    grants
      .map(({ list, permissions }) => {
        const lost = expandPatterns(permissions, "api-key", catalogue).intersection(taken);
        return [list, [...lost].sort()] as const;
      })
      .filter(([, lost]) => lost.length > 0),
  );
  const rows: { id: string; name: string; list: string }[] = await em.execute(
    `select k.id, k.name, to_jsonb(k.permissions)::text as list ${keys}
      and to_jsonb(k.permissions)::text in (select jsonb_array_elements_text(?))
    order by k.id limit ${MOST}`,
    [organizationId, ownerId, JSON.stringify([...losses.keys()])],
  );
  return rows.map(({ id, name, list }) => ({ id, name, lostPermissions: losses.get(list) ?? [] }));
}
