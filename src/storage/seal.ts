import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

/** Before values named their key. */
const NAMELESS = 1;
const VERSION = 2;
const NAME_BYTES = 8;
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
  /**
   * Opens what was sealed under the encryption key, or under the previous one.
   *
   * @throws SealBroken
   */
  open(sealed: Uint8Array, place: string): Buffer;
  /** What every value begins with that is sealed under the encryption key. It tells nothing of the key. */
  readonly head: Buffer;
}

interface SealingKey {
  readonly key: Buffer;
  readonly head: Buffer;
}

/** @param encryptionKey 32 bytes, as is the previous one. Undefined: there is none. */
export function createSeal(encryptionKey: Uint8Array, previousKey?: Uint8Array): Seal {
  const current = sealingKeyOf(encryptionKey);
  const keys = [current, ...(previousKey === undefined ? [] : [sealingKeyOf(previousKey)])];

  return {
    close(secret, place) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", current.key, nonce).setAAD(Buffer.from(place));
      const body = Buffer.concat([cipher.update(secret), cipher.final()]);
      return Buffer.concat([current.head, nonce, body, cipher.getAuthTag()]);
    },
    open(sealed, place) {
      const bytes = Buffer.from(sealed);
      const isNameless = bytes[0] === NAMELESS;
      const headBytes = isNameless ? 1 : current.head.length;
      const fitting = isNameless
        ? keys
        : keys.filter(({ head }) => head.equals(bytes.subarray(0, headBytes)));
      let cause: unknown;
      for (const { key } of fitting) {
        try {
          return openWith(key, bytes.subarray(headBytes), place);
        } catch (error) {
          cause = error;
        }
      }
      throw new SealBroken(`the encryption key does not open ${place}`, { cause });
    },
    head: current.head,
  };
}

function sealingKeyOf(encryptionKey: Uint8Array): SealingKey {
  const derive = (purpose: string, bytes: number) =>
    Buffer.from(hkdfSync("sha256", encryptionKey, "", `latchkey ${purpose}`, bytes));
  const head = Buffer.concat([Buffer.of(VERSION), derive("seal name", NAME_BYTES)]);
  return { key: derive("seal", 32), head };
}

function openWith(key: Buffer, sealed: Buffer, place: string): Buffer {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) {
    throw new Error("too short");
  }
  const nonce = sealed.subarray(0, NONCE_BYTES);
  const body = sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(Buffer.from(place))
    .setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  return Buffer.concat([decipher.update(body), decipher.final()]);
}
