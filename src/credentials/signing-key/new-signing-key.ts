import { generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { calculateJwkThumbprint, type JWK } from "jose";
import type { Seal } from "../../storage/seal.ts";

const generate = promisify(generateKeyPair);

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

const GENERATE = {
  ES256: () => generate("ec", { namedCurve: "P-256" }),
  /** Of Ed25519 (RFC 8037). */
  EdDSA: () => generate("ed25519"),
  RS256: () => generate("rsa", { modulusLength: 3072 }),
} as const satisfies Record<string, () => Promise<KeyPair>>;

/** How tokens are signed (RFC 7518 section 3.1). Each key has one algorithm and is used with no other. */
export type SigningAlgorithm = keyof typeof GENERATE;

/** A signing key that was made, and is not in the database yet. */
export interface NewSigningKey {
  readonly kid: string;
  readonly algorithm: SigningAlgorithm;
  readonly publicJwk: JWK;
  readonly sealedPrivateKey: Buffer;
}

/** The one place where a private key opens. */
export function placeOfSigningKey(kid: string): string {
  return `signing_keys/${kid}`;
}

/** Makes a key, beside the event loop: one of RSA takes a while. */
export async function makeSigningKey(seal: Seal, algorithm: SigningAlgorithm): Promise<NewSigningKey> {
  const { publicKey, privateKey } = await GENERATE[algorithm]();
  const publicJwk = publicKey.export({ format: "jwk" }) as JWK;
  const kid = await calculateJwkThumbprint(publicJwk);
  // On a command line it must not look like an option.
  if (kid.startsWith("-")) {
    return await makeSigningKey(seal, algorithm);
  }
  const pkcs8 = privateKey.export({ format: "der", type: "pkcs8" });
  return { kid, algorithm, publicJwk, sealedPrivateKey: seal.close(pkcs8, placeOfSigningKey(kid)) };
}
