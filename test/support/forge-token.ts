import { type KeyObject, sign } from "node:crypto";
import type { Core } from "../../src/app.ts";
import { createReadSigner } from "../../src/credentials/signing-key/signer.ts";

/** The two readable parts of a JWT, and a text that stands for one as it is. */
export type TokenPart = Readonly<Record<string, unknown>> | string;

export interface SigningKeyPair {
  readonly kid: string;
  readonly privateKey: KeyObject;
}

/** The key that a deployment signs with, taken out of its database. */
export async function signingKeyOf(core: Core): Promise<SigningKeyPair> {
  return await core.storage.fork().transactional(createReadSigner(core.seal));
}

/** Reads a token without any check. */
export function readParts(token: string) {
  const [header = "", payload = "", signature = ""] = token.split(".");
  return {
    header: JSON.parse(decode(header).toString()) as Record<string, unknown>,
    payload: JSON.parse(decode(payload).toString()) as Record<string, unknown>,
    signature,
  };
}

/** A token of these parts, signed with ES256: what it says is up to the test. */
export function forgeToken(header: TokenPart, payload: TokenPart, key: KeyObject): string {
  return signEncoded(encode(header), encode(payload), key);
}

/** The same, of parts that are encoded already. */
export function signEncoded(header: string, payload: string, key: KeyObject): string {
  const signed = `${header}.${payload}`;
  return `${signed}.${encode(sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" }))}`;
}

export function encode(part: TokenPart | Buffer): string {
  const text = typeof part === "string" || Buffer.isBuffer(part) ? part : JSON.stringify(part);
  return Buffer.from(text).toString("base64url");
}

export function decode(part: string): Buffer {
  return Buffer.from(part, "base64url");
}
