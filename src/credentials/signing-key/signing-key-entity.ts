import { defineEntity, p } from "@mikro-orm/core";

const SigningKeySchema = defineEntity({
  name: "SigningKey",
  tableName: "signing_keys",
  properties: {
    /** The JWK thumbprint (RFC 7638) of the public key. */
    kid: p.text().primary(),
    /** What lists go by. */
    listId: p.uuid().unique().defaultRaw("gen_random_uuid()"),
    /** The one algorithm that the key is used with. */
    algorithm: p.text(),
    publicJwk: p.json<Readonly<Record<string, unknown>>>().columnType("jsonb"),
    /** The private key as PKCS #8, sealed under the deployment's encryption key. Null: it signs no more. */
    sealedPrivateKey: p.blob().nullable().lazy(),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    publishTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    activateTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    retireTime: p.datetime().columnType("timestamptz").nullable(),
    removeTime: p.datetime().columnType("timestamptz").nullable(),
    revokeTime: p.datetime().columnType("timestamptz").nullable(),
    revokeReason: p.text().nullable(),
  },
});

/** A key that signs tokens. */
export class SigningKey extends SigningKeySchema.class {}
SigningKeySchema.setClass(SigningKey);
