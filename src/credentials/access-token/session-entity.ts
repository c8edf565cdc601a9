import { defineEntity, p } from "@mikro-orm/core";

export type SessionKind = "login" | "api_key" | "delegation" | "service";

const SessionSchema = defineEntity({
  name: "Session",
  tableName: "sessions",
  properties: {
    /** The `sid` of the tokens that belong to it. */
    id: p.uuid().primary(),
    /** How it began: by a login, or by a key that it stands on. */
    kind: p.text().$type<SessionKind>().default("login"),
    /** Null: of an internal key that may act for each organization. */
    organizationId: p.uuid().nullable(),
    /** Whoever logged in, or on whose behalf a service acts. */
    userId: p.uuid().nullable(),
    apiKeyId: p.uuid().nullable(),
    serviceKeyId: p.uuid().nullable(),
    /** The public part of the key's secret that was presented. */
    secretId: p.text().nullable(),
    /** The names and patterns that it was narrowed to. Null: all that the key may do. */
    permissions: p.array().columnType("text[]").nullable(),
    /** Null: the default one. */
    audience: p.text().nullable(),
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
