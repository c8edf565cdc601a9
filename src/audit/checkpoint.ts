import { CompactSign, compactVerify, decodeProtectedHeader, errors } from "jose";
import { v7 as uuidv7 } from "uuid";
import { isUuid } from "../uuid.ts";
import type { AuditKeys } from "./audit-keys.ts";

/** It is told from tokens by its type, and tokens are told from it (RFC 8725 section 3.11). */
const TYPE = "latchkey-audit-checkpoint+jws";
const LONGEST = 2048;
const HASH = /^[0-9a-f]{64}$/;

/** What a checkpoint says: at this sequence, the chain had this hash. */
export interface Checkpoint {
  readonly id: string;
  /** The id of the organization, or that of the platform's record. */
  readonly chain: string;
  readonly sequence: bigint;
  /** In hexadecimal digits. */
  readonly hash: string;
  readonly createTime: Date;
}

/** Signs a checkpoint (RFC 7515, RFC 8037). The time is whole seconds. */
export async function signCheckpoint(
  { current }: AuditKeys,
  issuer: string,
  checkpoint: Omit<Checkpoint, "id">,
): Promise<{ id: string; jws: string }> {
  const id = uuidv7();
  const payload = {
    iss: issuer,
    jti: id,
    iat: Math.floor(checkpoint.createTime.getTime() / 1000),
    chain: checkpoint.chain,
    sequence: String(checkpoint.sequence),
    hash: checkpoint.hash,
  };
  const jws = await new CompactSign(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({ alg: "EdDSA", typ: TYPE, kid: current.kid })
    .sign(current.privateKey);
  return { id, jws };
}

/**
 * Reads a checkpoint and checks its signature.
 *
 * @returns undefined where it is none, or no key of this deployment has signed it.
 */
export async function readCheckpoint(keys: AuditKeys, jws: string): Promise<Checkpoint | undefined> {
  if (jws.length > LONGEST) {
    return undefined;
  }
  try {
    const { kid = "", typ } = decodeProtectedHeader(jws);
    const key = typ === TYPE ? await keys.find(kid) : undefined;
    if (key === undefined) {
      return undefined;
    }
    const { payload } = await compactVerify(jws, key, { algorithms: ["EdDSA"] });
    return checkpointOf(JSON.parse(Buffer.from(payload).toString()));
  } catch (error) {
    // What is neither JOSE's nor JSON's fault is one of ours, and no verdict. jose throws a TypeError for a text
    // that is no JWS.
    if (error instanceof errors.JOSEError || error instanceof SyntaxError || error instanceof TypeError) {
      return undefined;
    }
    throw error;
  }
}

function checkpointOf(payload: Record<string, unknown>): Checkpoint | undefined {
  const { jti: id, chain, sequence, hash, iat } = payload;
  const isWhole =
    typeof id === "string" &&
    typeof chain === "string" &&
    isUuid(chain) &&
    typeof sequence === "string" &&
    /^[1-9]\d{0,18}$/.test(sequence) &&
    typeof hash === "string" &&
    HASH.test(hash) &&
    typeof iat === "number";
  return isWhole
    ? { id, chain, sequence: BigInt(sequence), hash, createTime: new Date(iat * 1000) }
    : undefined;
}
