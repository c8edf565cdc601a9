import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { calculateJwkThumbprint, type JWK } from "jose";
import { LOCKS } from "../storage/locks.ts";
import type { Storage } from "../storage/open-storage.ts";
import { type Seal, SealBroken } from "../storage/seal.ts";

/**
 * The keys that checkpoints are signed with: Ed25519, and none of those that sign tokens, which are replaced and
 * withdrawn. A checkpoint is to be checked years later. The public part is taken from the private one, which is
 * sealed: whoever can only write to the database cannot put a key of their own in its place.
 */
export interface AuditKeys {
  readonly current: { readonly kid: string; readonly privateKey: KeyObject };
  /** Undefined: no key of this deployment. */
  find(kid: string): Promise<KeyObject | undefined>;
  /** The public keys (RFC 7517, RFC 8037). */
  published(): Promise<readonly JWK[]>;
}

interface KeyRow {
  kid: string;
  sealed_private_key: Buffer;
}

/** Where a key is sealed: for whoever seals it anew. */
export const auditKeyPlace = (kid: string): string => `audit_keys/${kid}`;

/** Loads the deployment's key for checkpoints, or makes it: one, however many processes start at once. */
export async function loadAuditKeys(storage: Storage, seal: Seal): Promise<AuditKeys> {
  const open = ({ kid, sealed_private_key }: KeyRow): KeyObject =>
    createPrivateKey({
      key: seal.open(sealed_private_key, auditKeyPlace(kid)),
      format: "der",
      type: "pkcs8",
    });

  const newest = await storage.fork().transactional(async (em) => {
    await em.execute("select pg_advisory_xact_lock(?)", [LOCKS.auditKey]);
    const [found] = await em.execute<KeyRow[]>(
      "select kid, sealed_private_key from audit_keys order by create_time desc, kid limit 1",
    );
    if (found !== undefined) {
      return found;
    }
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const kid = await calculateJwkThumbprint(publicKey.export({ format: "jwk" }) as JWK);
    const pkcs8 = privateKey.export({ format: "der", type: "pkcs8" });
    const sealed_private_key = seal.close(pkcs8, auditKeyPlace(kid));
    await em.execute("insert into audit_keys (kid, sealed_private_key) values (?, ?)", [
      kid,
      sealed_private_key,
    ]);
    return { kid, sealed_private_key };
  });

  const privateKey = open(newest);
  const known = new Map([[newest.kid, createPublicKey(privateKey)]]);
  const read = async (): Promise<void> => {
    const rows: KeyRow[] = await storage.fork().execute("select kid, sealed_private_key from audit_keys");
    for (const row of rows) {
      try {
        known.set(row.kid, known.get(row.kid) ?? createPublicKey(open(row)));
      } catch (error) {
        // Nobody who holds the encryption key has put it there.
        if (!(error instanceof SealBroken)) {
          throw error;
        }
      }
    }
  };

  return {
    current: { kid: newest.kid, privateKey },
    async find(kid) {
      if (!known.has(kid)) {
        await read();
      }
      return known.get(kid);
    },
    async published() {
      await read();
      return [...known].map(([kid, key]) => ({
        ...(key.export({ format: "jwk" }) as JWK),
        kid,
        alg: "EdDSA",
        use: "sig",
      }));
    },
  };
}
