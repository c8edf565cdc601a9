import { defineEntity, p } from "@mikro-orm/core";

const SigningKeySchema = defineEntity({
  name: "SigningKey",
  tableName: "signing_keys",
  properties: {
    /** The JWK thumbprint (RFC 7638) of the public key. */
    kid: p.text().primary(),
    /** The one algorithm that the key is used with. */
    algorithm: p.text(),
    publicJwk: p.json<{ kty: string; crv?: string; x?: string; y?: string }>().columnType("jsonb"),
    /** The private key as PKCS #8, sealed under the deployment's encryption key. */
    sealedPrivateKey: p.blob(),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
    revokeTime: p.datetime().columnType("timestamptz").nullable(),
  },
});

/** A key that signs tokens. */
export class SigningKey extends SigningKeySchema.class {}
SigningKeySchema.setClass(SigningKey);
