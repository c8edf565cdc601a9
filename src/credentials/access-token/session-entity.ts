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
    /** The end of it all, however often it is refreshed. */
    expireTime: p.datetime().columnType("timestamptz"),
    revokeTime: p.datetime().columnType("timestamptz").nullable(),
    /** When it ends unless it is refreshed before. Null: it cannot be refreshed. */
    idleExpireTime: p.datetime().columnType("timestamptz").nullable(),
    refreshTime: p.datetime().columnType("timestamptz").nullable(),
    refreshCount: p.integer().default(0),
    /** Its refresh tokens travel in a cookie, and nowhere else. */
    browser: p.boolean().default(false),
    /** Of the call that it began with. */
    clientAddress: p.text().default(""),
  },
});

/** What a token stands on: it lives no longer than its session. */
export class Session extends SessionSchema.class {}
SessionSchema.setClass(Session);
