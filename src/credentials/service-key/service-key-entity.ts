import { defineEntity, p } from "@mikro-orm/core";

const ServiceKeySchema = defineEntity({
  name: "ServiceKey",
  tableName: "service_keys",
  properties: {
    id: p.uuid().primary(),
    name: p.text(),
    /** Names and patterns over both scopes, as they were granted. */
    permissions: p.array().columnType("text[]"),
    allowedCidrs: p.array().columnType("text[]"),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    expireTime: p.datetime().columnType("timestamptz").nullable(),
    revokeTime: p.datetime().columnType("timestamptz").nullable(),
    revokeReason: p.text().nullable(),
    /** The principal that made the call; null where an operator did. */
    creatorId: p.uuid().nullable().index("service_keys_creator_id_idx"),
    /** Through whose hands it came: the creator, and whoever was handed the secret that the creator presented. */
    makerIds: p
      .array()
      .columnType("uuid[]")
      .onCreate(() => []),
  },
});

/** An internal key, without its secret. */
export class ServiceKey extends ServiceKeySchema.class {}
ServiceKeySchema.setClass(ServiceKey);

const ServiceKeySlotSchema = defineEntity({
  name: "ServiceKeySlot",
  tableName: "service_key_slots",
  uniques: [{ name: "service_key_slots_service_key_id_slot_key", properties: ["serviceKeyId", "slot"] }],
  properties: {
    /** The public part of the key's text, by which a presented key is found. */
    lookupId: p.text().primary(),
    serviceKeyId: p.uuid(),
    slot: p.smallint(),
    /** The principal to whom it was handed, where a rotation made it. */
    creatorId: p.uuid().nullable().index("service_key_slots_creator_id_idx"),
    /** Through whose hands it came: the creator, and whoever was handed the secret that the creator presented. */
    makerIds: p
      .array()
      .columnType("uuid[]")
      .onCreate(() => []),
    /** The text up to and with its lookup id. */
    displayPrefix: p.text(),
    /** HMAC-SHA-256 of the whole text under the pepper. */
    digest: p.blob(),
    pepperId: p.uuid(),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    expireTime: p.datetime().columnType("timestamptz").nullable(),
  },
});

/** One of the two places that an internal key has for a secret. */
export class ServiceKeySlot extends ServiceKeySlotSchema.class {}
ServiceKeySlotSchema.setClass(ServiceKeySlot);
