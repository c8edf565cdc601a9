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
    /** The public part of the secret with which the membership is accepted. */
    invitationLookupId: p.text().unique("memberships_invitation_lookup_id_unique").nullable(),
    invitationDigest: p.blob().nullable(),
    invitationPepperId: p.uuid().nullable(),
    invitationExpireTime: p.datetime().columnType("timestamptz").nullable(),
    disableTime: p.datetime().columnType("timestamptz").nullable(),
    /** When the person left. What they made may still refer to them. */
    removeTime: p.datetime().columnType("timestamptz").nullable(),
  },
});

/** A membership that nothing accepts any more. */
export const NO_INVITATION = {
  invitationLookupId: null,
  invitationDigest: null,
  invitationPepperId: null,
  invitationExpireTime: null,
} as const;

/** Those who have not left, whatever else is true of them. */
export const MEMBER = { removeTime: null } as const;

/** Those who may act: accepted, not disabled, and not gone. */
export const ACTIVE_MEMBER = { ...MEMBER, acceptTime: { $ne: null }, disableTime: null } as const;

// The same in SQL, of a membership `m`.
export const IS_MEMBER = "m.remove_time is null";
export const IS_PENDING_MEMBER = `m.accept_time is null and m.disable_time is null and ${IS_MEMBER}`;
export const IS_ACTIVE_MEMBER = `m.accept_time is not null and m.disable_time is null and ${IS_MEMBER}`;

/** What a person is in one organization. */
export class Membership extends MembershipSchema.class {}
MembershipSchema.setClass(Membership);
