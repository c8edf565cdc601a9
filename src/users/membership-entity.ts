import { defineEntity, p } from "@mikro-orm/core";

const MembershipSchema = defineEntity({
  name: "Membership",
  tableName: "memberships",
  uniques: [{ name: "memberships_organization_id_user_id_key", properties: ["organizationId", "userId"] }],
  properties: {
    id: p.uuid().primary(),
    organizationId: p.uuid(),
    userId: p.uuid().index("memberships_user_id_idx"),
    roleId: p.uuid(),
    /** What this organization calls the person: another organization's name for them is not its business. */
    displayName: p.text(),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    /** When its owner agreed. A membership without it is pending, and allows nothing. */
    acceptTime: p.datetime().columnType("timestamptz").nullable(),
    disableTime: p.datetime().columnType("timestamptz").nullable(),
  },
});

/** What a person is in one organization. */
export class Membership extends MembershipSchema.class {}
MembershipSchema.setClass(Membership);
