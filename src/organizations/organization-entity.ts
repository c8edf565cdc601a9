import { defineEntity, p } from "@mikro-orm/core";

const OrganizationSchema = defineEntity({
  name: "Organization",
  tableName: "organizations",
  properties: {
    id: p.uuid().primary(),
    name: p.text(),
    /** The name's canonical form (NFKC, lower case): what is unique. */
    nameKey: p.text().unique("organizations_name_key_unique"),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    suspendTime: p.datetime().columnType("timestamptz").nullable(),
  },
});

/** A tenant: whom users and keys act for. */
export class Organization extends OrganizationSchema.class {}
OrganizationSchema.setClass(Organization);
