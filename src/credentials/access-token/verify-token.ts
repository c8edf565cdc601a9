import { createPublicKey, type KeyObject } from "node:crypto";
import { errors, jwtVerify } from "jose";
import { AuthError } from "../../errors.ts";
import { isUuid } from "../../uuid.ts";
import type { SessionKind } from "./session-entity.ts";

/** How far this machine's clock may be from the issuer's, in seconds (RFC 7519 section 4.1.4). */
export const LEEWAY_SECONDS = 30;
const LONGEST = 4096;
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const TYPE = "at+jwt";
const HEADER_NAMES = new Set(["alg", "kid", "typ"]);
const KINDS: readonly SessionKind[] = ["login", "api_key", "delegation", "service"];
const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/;
/** A public key and the one algorithm that it is used with. */
export interface VerificationKey {
  readonly algorithm: string;
  readonly key: KeyObject;
}

/** What a token says of itself before its signature is checked: enough to look things up, no more. */
export interface TokenOutline {
  readonly kid: string;
  readonly sessionId: string;
  readonly kind: SessionKind;
}

/** The claims that count. What else a token says (`org`, `role`) informs; live state decides. */
export interface TokenClaims {
  readonly subject: string;
  /** In milliseconds, by the clock of whoever issued it. */
  readonly expireMillis: number;
}

export interface TokenVerifier {
  /** A key that is known without asking the database. */
  knownKey(kid: string): VerificationKey | undefined;
  /**
   * @param audience that the token must have been issued for; undefined for any.
   * @throws AuthError unless the signature and every claim hold (RFC 9068 section 4).
   */
  verify(token: string, key: VerificationKey, audience: string | undefined): Promise<TokenClaims>;
}

export function createTokenVerifier(options: {
  readonly issuer: string;
  readonly knownKey: (kid: string) => VerificationKey | undefined;
}): TokenVerifier {
  return {
    knownKey: options.knownKey,
    async verify(token, key, audience) {
      try {
        const { payload } = await jwtVerify(token, key.key, {
          algorithms: [key.algorithm],
          typ: TYPE,
          issuer: options.issuer,
          ...(audience !== undefined && { audience }),
          requiredClaims: ["iss", "aud", "exp", "iat", "jti", "sub", "sid"],
          clockTolerance: LEEWAY_SECONDS,
        });
        if ((payload.iat ?? Infinity) > Date.now() / 1000 + LEEWAY_SECONDS) {
          throw new AuthError("TOKEN_NOT_YET_VALID");
        }
        if (typeof payload.jti !== "string" || payload.jti === "") {
          throw new AuthError("TOKEN_INVALID");
        }
        return { subject: payload.sub ?? "", expireMillis: (payload.exp ?? 0) * 1000 };
      } catch (error) {
        throw refusalOf(error);
      }
    },
  };
}

/**
 * Reads a token in the compact form and nothing else (RFC 7515 section 7.1): no JSON form, no encrypted
 * token, no base64 that could be written otherwise, and only the header parameters that we set: `jku`,
 * `jwk`, `x5u` and `crit` have no place in a token of ours.
 *
 * @returns undefined where the text cannot be a token of ours.
 */
export function outlineToken(text: string): TokenOutline | undefined {
  if (text.length > LONGEST || !COMPACT.test(text)) {
    return undefined;
  }
  const [head = "", body = "", signature = ""] = text.split(".");
  const header = decodePart(head);
  const payload = decodePart(body);
  if (header === undefined || payload === undefined || !isCanonical(signature)) {
    return undefined;
  }
  const { typ, kid } = header;
  const sid = payload["sid"];
  // Of a login it says nothing.
  const kind = KINDS.find((one) => one === (payload["kind"] ?? "login"));
  const wellFormed =
    Object.keys(header).every((name) => HEADER_NAMES.has(name)) &&
    typ === TYPE &&
    typeof kid === "string" &&
    THUMBPRINT.test(kid) &&
    typeof sid === "string" &&
    isUuid(sid);
  return wellFormed && kind !== undefined ? { kid, sessionId: sid, kind } : undefined;
}

/** @param jwk a public key as it is kept. */
export function verificationKey(algorithm: string, jwk: Readonly<Record<string, unknown>>): VerificationKey {
  return { algorithm, key: createPublicKey({ key: jwk, format: "jwk" }) };
}

function decodePart(part: string): Record<string, unknown> | undefined {
  if (!isCanonical(part)) {
    return undefined;
  }
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString());
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Whether it is the one way to write its bytes: the unused bits of the last letter are zero. */
function isCanonical(part: string): boolean {
  return Buffer.from(part, "base64url").toString("base64url") === part;
}

function refusalOf(error: unknown): unknown {
  if (error instanceof errors.JWTExpired) {
    return new AuthError("TOKEN_EXPIRED");
  }
  if (
    error instanceof errors.JWTClaimValidationFailed &&
    error.claim === "aud" &&
    error.reason === "check_failed"
  ) {
    return new AuthError("TOKEN_AUDIENCE_MISMATCH");
  }
  if (
    error instanceof errors.JWTClaimValidationFailed &&
    error.claim === "nbf" &&
    error.reason === "check_failed"
  ) {
    return new AuthError("TOKEN_NOT_YET_VALID");
  }
  if (error instanceof errors.JOSEError) {
    return new AuthError("TOKEN_INVALID", { cause: error });
  }
  return error;
}
