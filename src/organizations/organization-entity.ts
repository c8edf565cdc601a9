import { defineEntity, p } from "@mikro-orm/core";

const OrganizationSchema = defineEntity({
  name: "Organization",
  tableName: "organizations",
  properties: {
    id: p.uuid().primary(),
    name: p.text(),
    /** The name's canonical form (NFKC, lower case): what is unique. Of one that is deleted: null. */
    nameKey: p.text().unique("organizations_name_key_unique").nullable(),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    suspendTime: p.datetime().columnType("timestamptz").nullable(),
    /** The row of one that is deleted stays for the record. It is suspended too. */
    deleteTime: p.datetime().columnType("timestamptz").nullable(),
  },
});

/** Those that are not deleted. */
export const LIVE_ORGANIZATION = { deleteTime: null } as const;

/** A tenant: whom users and keys act for. */
export class Organization extends OrganizationSchema.class {}
OrganizationSchema.setClass(Organization);
