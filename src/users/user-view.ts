import type { EntityManager } from "@mikro-orm/postgresql";
import { Role } from "../permissions/role-entity.ts";
import type { Membership } from "./membership-entity.ts";
import { User } from "./user-entity.ts";

/** A user, as a member of one organization. */
export interface UserView {
  readonly id: string;
  readonly organizationId: string;
  readonly email: string;
  readonly displayName: string;
  readonly role: string;
  readonly disabled: boolean;
  readonly createTime: Date;
  /** Whether they have yet to accept the membership. */
  readonly pending: boolean;
}

/** The users behind memberships, in the same order. */
export async function viewsOf(em: EntityManager, memberships: readonly Membership[]): Promise<UserView[]> {
  const users = await em.find(User, { id: { $in: memberships.map((membership) => membership.userId) } });
  const roles = await em.find(Role, { id: { $in: memberships.map((membership) => membership.roleId) } });
  const emails = new Map(users.map((user) => [user.id, user.email]));
  const roleNames = new Map(roles.map((role) => [role.id, role.name]));
  return memberships.map((membership) => ({
    id: membership.userId,
    organizationId: membership.organizationId,
    email: emails.get(membership.userId) ?? "",
    displayName: membership.displayName,
    role: roleNames.get(membership.roleId) ?? "",
    disabled: membership.disableTime != null,
    createTime: membership.createTime,
    pending: membership.acceptTime == null,
  }));
}
