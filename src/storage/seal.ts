import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** A sealed value does not open: the key is another, or the value was changed or moved. */
export class SealBroken extends Error {
  override readonly name = "SealBroken";
}

/** Seals secrets for the database, under the deployment's encryption key. */
export interface Seal {
  /** Encrypts with AES-256-GCM. What is sealed for one place (a table and its row) opens nowhere else. */
  close(secret: Uint8Array, place: string): Buffer;
  /** @throws SealBroken */
  open(sealed: Uint8Array, place: string): Buffer;
  /** A 32-byte key for another use, told apart by its purpose (HKDF, RFC 5869). */
  deriveKey(purpose: string): Buffer;
}

/** @param encryptionKey 32 bytes. */
export function createSeal(encryptionKey: Uint8Array): Seal {
  const derive = (purpose: string) =>
    Buffer.from(hkdfSync("sha256", encryptionKey, "", `latchkey ${purpose}`, 32));
  const sealingKey = derive("seal");

  return {
    close(secret, place) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", sealingKey, nonce).setAAD(Buffer.from(place));
      const body = Buffer.concat([cipher.update(secret), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), nonce, body, cipher.getAuthTag()]);
    },
    open(sealed, place) {
      if (sealed[0] !== VERSION || sealed.length < 1 + NONCE_BYTES + TAG_BYTES) {
        throw new SealBroken(`not a sealed value: ${place}`);
      }
      const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
      const body = sealed.subarray(1 + NONCE_BYTES, sealed.length - TAG_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", sealingKey, nonce, { authTagLength: TAG_BYTES })
        .setAAD(Buffer.from(place))
        .setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(body), decipher.final()]);
      } catch (error) {
        throw new SealBroken(`the encryption key does not open ${place}`, { cause: error });
      }
    },
    deriveKey: derive,
  };
}
