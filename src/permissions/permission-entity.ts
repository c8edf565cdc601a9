import { defineEntity, p } from "@mikro-orm/core";

const PermissionSchema = defineEntity({
  name: "Permission",
  tableName: "permissions",
  properties: {
    name: p.text().primary(),
    scope: p.text().$type<"organization" | "platform">(),
    description: p.text(),
  },
});

/** A permission of the catalogue, which is one for the whole deployment. */
export class Permission extends PermissionSchema.class {}
PermissionSchema.setClass(Permission);
