import { verify } from "@node-rs/argon2";
import { readPhcBase64 } from "./phc-base64.ts";

const MOST_KIBIBYTES = 64 * 1024;
const MOST_PASSES = 10;
const MOST_LANES = 16;
/** Kibibytes, times passes: four over all that is allowed. */
const MOST_WORK = 4 * MOST_KIBIBYTES;
/** RFC 9106 section 3.1: at least eight kibibytes a lane. */
const LEAST_KIBIBYTES_A_LANE = 8;
const FORM =
  /^\$argon2(?:id|i|d)\$v=19\$m=([1-9]\d{0,5}),t=([1-9]\d?),p=([1-9]\d?)\$([A-Za-z0-9+/]{11,64})\$([A-Za-z0-9+/]{22,86})$/;

/**
 * Whether it is a hash of Argon2 (RFC 9106) that takes no more to check than is allowed.
 *
 * @param mostMemory in kibibytes.
 */
export function isArgon2Hash(text: string, mostMemory = MOST_KIBIBYTES): boolean {
  const [, m = "", t = "", p = "", salt = "", hash = ""] = FORM.exec(text) ?? [];
  const [kibibytes, passes, lanes] = [Number(m), Number(t), Number(p)];
  return (
    m !== "" &&
    readPhcBase64(salt) !== undefined &&
    readPhcBase64(hash) !== undefined &&
    kibibytes <= mostMemory &&
    kibibytes >= LEAST_KIBIBYTES_A_LANE * lanes &&
    passes <= MOST_PASSES &&
    lanes <= MOST_LANES &&
    kibibytes * passes <= MOST_WORK
  );
}

/** Whether it is the hash of this text, on a thread of its own. */
export async function matchesArgon2(text: string, encoded: string): Promise<boolean> {
  return await verify(encoded, text);
}
