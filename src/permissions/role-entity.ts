import { defineEntity, p } from "@mikro-orm/core";

const RoleSchema = defineEntity({
  name: "Role",
  tableName: "roles",
  uniques: [
    { name: "roles_organization_id_name_key", properties: ["organizationId", "name"] },
    { name: "roles_organization_id_id_key", properties: ["organizationId", "id"] },
  ],
  properties: {
    id: p.uuid().primary(),
    organizationId: p.uuid(),
    name: p.text(),
    /** Names and patterns over ORGANIZATION permissions. */
    permissions: p.array().columnType("text[]"),
    builtIn: p.boolean(),
  },
});

/** A role of one organization. Built-in roles have a row in each. */
export class Role extends RoleSchema.class {}
RoleSchema.setClass(Role);
