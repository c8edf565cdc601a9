import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import type { Seal } from "../../storage/seal.ts";
import type { KeyHasher } from "../key-digest.ts";
import type { KeyFormat } from "./key-format.ts";
import type { KeyHashing } from "./key-hash.ts";

/** The one place where the secret of an HMAC opens. */
export function placeOfHmacSecret(formatId: string): string {
  return `imported_key_formats/${formatId}`;
}

/** What the secret of an HMAC is known by, in hexadecimal digits, where it must not be itself. */
export function nameOfHmacSecret(keyHasher: KeyHasher, secret: Uint8Array): string {
  const { digest } = keyHasher.hash(`imported key secret\0${Buffer.from(secret).toString("hex")}`);
  return digest.toString("hex");
}

/**
 * The id of a format's row, which is made where there is none. Whoever asks has the table to themselves.
 *
 * @returns whether it was made.
 */
export async function storeFormat(
  em: EntityManager,
  parts: { readonly seal: Seal; readonly keyHasher: KeyHasher },
  { prefix, length, alphabet }: KeyFormat,
  { algorithm, hmacSecret }: KeyHashing,
): Promise<{ readonly id: string; readonly isNew: boolean }> {
  const secretName = hmacSecret === undefined ? null : nameOfHmacSecret(parts.keyHasher, hmacSecret);
  const known = await em.execute<{ id: string }[]>(
    `select id from imported_key_formats
    where prefix = ? and length = ? and alphabet = ? and algorithm = ?
      and hmac_secret_digest is not distinct from decode(?, 'hex')`,
    [prefix, length, alphabet, algorithm, secretName],
  );
  if (known[0] !== undefined) {
    return { id: known[0].id, isNew: false };
  }
  const id = uuidv7();
  const sealed = hmacSecret === undefined ? null : parts.seal.close(hmacSecret, placeOfHmacSecret(id));
  await em.execute(
    `insert into imported_key_formats
      (id, prefix, length, alphabet, algorithm, hmac_secret_digest, sealed_hmac_secret)
    values (?, ?, ?, ?, ?, decode(?, 'hex'), ?)`,
    [id, prefix, length, alphabet, algorithm, secretName, sealed],
  );
  return { id, isNew: true };
}
