import {
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { LOCKS } from "../storage/locks.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Seal } from "../storage/seal.ts";
import { Pepper } from "./pepper-entity.ts";

const PEPPER_BYTES = 32;

/** What is kept of a key's secret. */
export interface KeyDigest {
  readonly digest: Buffer;
  readonly pepperId: string;
}

/** What a row tells about a key's secret, with the pepper as it is kept. */
export interface StoredDigest extends KeyDigest {
  readonly sealedPepper: Buffer;
}

/** Hashes keys for the database: HMAC-SHA-256 of the whole text, under a pepper that is not in it in clear. */
export interface KeyHasher {
  hash(text: string): KeyDigest;
  /** Compares in constant time, and does the same work where there is nothing to compare with. */
  matches(text: string, stored: StoredDigest | undefined): boolean;
  /**
   * A 32-byte key for another use, told apart by its purpose (HKDF, RFC 5869). Each replica has the same, and it
   * stays when the encryption key changes.
   */
  deriveKey(purpose: string): Buffer;
}

/** The one place where a pepper opens. */
export function placeOfPepper(id: string): string {
  return `peppers/${id}`;
}

/** Loads the deployment's pepper, or makes it: one, however many processes start at once. */
export async function loadKeyHasher(storage: Storage, seal: Seal): Promise<KeyHasher> {
  const current = await storage.fork().transactional(async (em) => {
    await em.execute("select pg_advisory_xact_lock(?)", [LOCKS.pepper]);
    const [newest] = await em.findAll(Pepper, { orderBy: { id: "desc" }, limit: 1 });
    if (newest !== undefined) {
      return newest;
    }
    const id = uuidv7();
    const sealedSecret = seal.close(randomBytes(PEPPER_BYTES), placeOfPepper(id));
    return em.create(Pepper, { id, sealedSecret });
  });

  const opened = new Map<string, KeyObject>();
  const open = (id: string, sealed: Uint8Array) => {
    const secret = opened.get(id) ?? createSecretKey(seal.open(sealed, placeOfPepper(id)));
    opened.set(id, secret);
    return secret;
  };
  const currentSecret = open(current.id, current.sealedSecret);
  const hmac = (secret: KeyObject, text: string) => createHmac("sha256", secret).update(text).digest();
  const nothing = Buffer.alloc(32);

  return {
    hash: (text) => ({ digest: hmac(currentSecret, text), pepperId: current.id }),
    matches(text, stored) {
      const secret = stored === undefined ? currentSecret : open(stored.pepperId, stored.sealedPepper);
      const equal = timingSafeEqual(hmac(secret, text), stored?.digest ?? nothing);
      return equal && stored !== undefined;
    },
    deriveKey: (purpose) => Buffer.from(hkdfSync("sha256", currentSecret, "", `latchkey ${purpose}`, 32)),
  };
}
