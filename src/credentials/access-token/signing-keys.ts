import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { calculateJwkThumbprint, type JWK } from "jose";
import { LOCKS } from "../../storage/locks.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Seal } from "../../storage/seal.ts";
import { SigningKey } from "./signing-key-entity.ts";
import { type VerificationKey, verificationKey } from "./verify-token.ts";

const ALGORITHM = "ES256";

export interface SigningKeys {
  /** The key that new tokens are signed with. */
  readonly current: { readonly kid: string; readonly algorithm: string; readonly privateKey: KeyObject };
  find(kid: string): VerificationKey | undefined;
  /** The public keys (RFC 7517 section 5). */
  readonly jwks: { readonly keys: readonly JWK[] };
}

/** Loads the deployment's signing key, or makes it: one, however many processes start at once. */
export async function loadSigningKeys(storage: Storage, seal: Seal): Promise<SigningKeys> {
  const place = (kid: string) => `signing_keys/${kid}`;

  const rows = await storage.fork().transactional(async (em) => {
    await em.execute("select pg_advisory_xact_lock(?)", [LOCKS.signingKey]);
    const found = await em.find(SigningKey, { revokeTime: null }, { orderBy: { createTime: "desc" } });
    if (found.length > 0) {
      return found;
    }
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const publicJwk = pair.publicKey.export({ format: "jwk" }) as JWK & { kty: string };
    const kid = await calculateJwkThumbprint(publicJwk);
    const pkcs8 = pair.privateKey.export({ format: "der", type: "pkcs8" });
    const sealedPrivateKey = seal.close(pkcs8, place(kid));
    return [em.create(SigningKey, { kid, algorithm: ALGORITHM, publicJwk, sealedPrivateKey })];
  });

  const [newest] = rows;
  if (newest === undefined) {
    throw new Error("a deployment has a signing key");
  }
  const privateKey = createPrivateKey({
    key: seal.open(newest.sealedPrivateKey, place(newest.kid)),
    format: "der",
    type: "pkcs8",
  });
  const keys = new Map(rows.map((row) => [row.kid, verificationKey(row.algorithm, { ...row.publicJwk })]));
  return {
    current: { kid: newest.kid, algorithm: newest.algorithm, privateKey },
    find: (kid) => keys.get(kid),
    jwks: {
      keys: rows.map((row) => ({ ...row.publicJwk, kid: row.kid, alg: row.algorithm, use: "sig" })),
    },
  };
}
