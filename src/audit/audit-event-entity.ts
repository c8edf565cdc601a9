import { defineEntity, p } from "@mikro-orm/core";

const AuditEventSchema = defineEntity({
  name: "AuditEvent",
  tableName: "audit_events",
  properties: {
    id: p.uuid().primary(),
    /** The organization whose record it belongs to. Null: the platform's. */
    organizationId: p.uuid().nullable(),
    occurTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    actorType: p.text().$type<"user" | "api_key" | "service" | "operator">(),
    actorId: p.text(),
    /** What was done, such as `api_key.create`. */
    action: p.text(),
    targetId: p.text(),
    /** The state before and after, without any secret. */
    detail: p.json<Record<string, unknown>>().columnType("jsonb"),
  },
});

/** The record of one change: who did what to whom. */
export class AuditEvent extends AuditEventSchema.class {}
AuditEventSchema.setClass(AuditEvent);
