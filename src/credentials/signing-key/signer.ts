import { createPrivateKey, type KeyObject } from "node:crypto";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Seal } from "../../storage/seal.ts";
import { placeOfSigningKey } from "./new-signing-key.ts";
import { holdSigningKeys, IN_LINE } from "./signing-key-line.ts";

/** The key that signs, with its private part. */
export interface Signer {
  readonly kid: string;
  readonly algorithm: string;
  readonly privateKey: KeyObject;
}

/**
 * Tells which key signs now, and keeps it so until the unit of work is done: whoever revokes it waits for what is
 * being signed, and nothing is signed with it after. What is signed must not leave before the unit of work is done.
 * To be called after every other lock.
 */
export type ReadSigner = (em: EntityManager) => Promise<Signer>;

// A database's clock may be set back: then whichever comes first signs, rather than nobody.
const SIGNER = `
  select kid, algorithm, sealed_private_key from signing_keys
  where ${IN_LINE} and sealed_private_key is not null
  order by activate_time <= clock_timestamp() desc, activate_time desc limit 1`;

export function createReadSigner(seal: Seal): ReadSigner {
  // One signs at a time, so only one is kept open.
  let opened: Signer | undefined;

  return async (em) => {
    await holdSigningKeys(em);
    const [row] = await em.execute<{ kid: string; algorithm: string; sealed_private_key: Buffer }[]>(SIGNER);
    if (row === undefined) {
      throw new Error("there is no signing key: each that there was has been revoked");
    }
    const { kid, algorithm } = row;
    if (opened?.kid !== kid) {
      const key = seal.open(row.sealed_private_key, placeOfSigningKey(kid));
      opened = { kid, algorithm, privateKey: createPrivateKey({ key, format: "der", type: "pkcs8" }) };
    }
    return opened;
  };
}
