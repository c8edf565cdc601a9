import { defineEntity, p } from "@mikro-orm/core";

const SessionSchema = defineEntity({
  name: "Session",
  tableName: "sessions",
  properties: {
    /** The `sid` of the tokens that belong to it. */
    id: p.uuid().primary(),
    organizationId: p.uuid(),
    userId: p.uuid(),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    expireTime: p.datetime().columnType("timestamptz"),
    revokeTime: p.datetime().columnType("timestamptz").nullable(),
  },
});

/** What a token stands on: it lives no longer than its session. */
export class Session extends SessionSchema.class {}
SessionSchema.setClass(Session);
