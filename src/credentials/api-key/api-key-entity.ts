import { defineEntity, p } from "@mikro-orm/core";

const ApiKeySchema = defineEntity({
  name: "ApiKey",
  tableName: "api_keys",
  uniques: [{ name: "api_keys_organization_id_id_key", properties: ["organizationId", "id"] }],
  indexes: [
    { name: "api_keys_organization_id_creator_id_idx", properties: ["organizationId", "creatorId"] },
    { name: "api_keys_organization_id_owner_user_id_idx", properties: ["organizationId", "ownerUserId"] },
  ],
  properties: {
    id: p.uuid().primary(),
    organizationId: p.uuid(),
    name: p.text(),
    /** Names and patterns, as they were granted. */
    permissions: p.array().columnType("text[]"),
    environment: p.text(),
    allowedCidrs: p.array().columnType("text[]"),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    expireTime: p.datetime().columnType("timestamptz").nullable(),
    revokeTime: p.datetime().columnType("timestamptz").nullable(),
    revokeReason: p.text().nullable(),
    /** The principal that made the call: a user, an internal key or another API key. */
    creatorId: p.uuid().index("api_keys_creator_id_idx"),
    /** Through whose hands it came: the creator, and whoever was handed the secret that the creator presented. */
    makerIds: p
      .array()
      .columnType("uuid[]")
      .onCreate(() => []),
    /** Whose live rights bound the key: exactly one of the two owners. */
    ownerUserId: p.uuid().nullable(),
    ownerServiceKeyId: p.uuid().nullable(),
    /** What its holders want to remember of it: text by name. */
    metadata: p.json().$type<Readonly<Record<string, string>>>().columnType("jsonb").defaultRaw("'{}'"),
    /** So many uses in each window: both, or neither. */
    rateLimitRequests: p.integer().columnType("int").nullable(),
    rateLimitWindowSeconds: p.integer().columnType("int").nullable(),
    /** Taken over from another system. */
    imported: p.boolean().default(false),
  },
});

/** An API key, without its secret. */
export class ApiKey extends ApiKeySchema.class {}
ApiKeySchema.setClass(ApiKey);

const ApiKeySlotSchema = defineEntity({
  name: "ApiKeySlot",
  tableName: "api_key_slots",
  uniques: [{ name: "api_key_slots_api_key_id_slot_key", properties: ["apiKeyId", "slot"] }],
  properties: {
    /** The public part of the key's text, by which a presented key is found. */
    lookupId: p.text().primary(),
    organizationId: p.uuid(),
    apiKeyId: p.uuid(),
    slot: p.smallint(),
    /** The principal to whom it was handed, where a rotation made it. */
    creatorId: p.uuid().nullable().index("api_key_slots_creator_id_idx"),
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

/** One of the two places that an API key has for a secret, so that it can be rotated with an overlap. */
export class ApiKeySlot extends ApiKeySlotSchema.class {}
ApiKeySlotSchema.setClass(ApiKeySlot);
