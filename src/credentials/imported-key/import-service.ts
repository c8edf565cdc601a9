import { create } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import type { Actor } from "../../authenticate/actor.ts";
import { AuthError } from "../../errors.ts";
import {
  type ApiKeyToImport,
  CreateApiKeyRequestSchema,
  type ImportApiKeysRequest,
  type ImportApiKeysResponse,
  ImportApiKeysResponseSchema,
  ImportMode,
  KeyAlphabet,
  KeyHashAlgorithm,
} from "../../gen/latchkey/v1/api_key_pb.ts";
import { expireTimeOf } from "../expire-time.ts";
import { type ImportApiKeysParts, importApiKeys } from "./import-api-keys.ts";
import { importAnswer } from "./import-results-service.ts";
import type { KeyAlphabet as Alphabet } from "./key-format.ts";
import type { KeyHashAlgorithm as Algorithm } from "./key-hash.ts";
import type { KeyToImport } from "./key-to-import.ts";

const ALPHABETS: Readonly<Partial<Record<KeyAlphabet, Alphabet>>> = {
  [KeyAlphabet.HEX]: "hex",
  [KeyAlphabet.BASE62]: "base62",
  [KeyAlphabet.BASE64URL]: "base64url",
  [KeyAlphabet.PRINTABLE]: "printable",
};

const ALGORITHMS: Readonly<Partial<Record<KeyHashAlgorithm, Algorithm>>> = {
  [KeyHashAlgorithm.SHA256]: "sha256",
  [KeyHashAlgorithm.SHA512]: "sha512",
  [KeyHashAlgorithm.HMAC_SHA256]: "hmac-sha256",
  [KeyHashAlgorithm.HMAC_SHA512]: "hmac-sha512",
  [KeyHashAlgorithm.BCRYPT]: "bcrypt",
  [KeyHashAlgorithm.SCRYPT]: "scrypt",
  [KeyHashAlgorithm.ARGON2]: "argon2",
};

const validator = createValidator({ failFast: true });

/** Carries out ImportApiKeys. */
export async function importApiKeysCall(
  parts: ImportApiKeysParts,
  actor: Actor,
  request: ImportApiKeysRequest,
): Promise<ImportApiKeysResponse> {
  const { format, hashing } = request;
  const alphabet = ALPHABETS[format?.alphabet ?? KeyAlphabet.UNSPECIFIED];
  const algorithm = ALGORITHMS[hashing?.algorithm ?? KeyHashAlgorithm.UNSPECIFIED];
  if (format === undefined || hashing === undefined || alphabet === undefined || algorithm === undefined) {
    throw new Error("the rules of the message require a format and how it is hashed");
  }
  const outcomes = await importApiKeys(parts, actor, {
    organizationId: request.organizationId,
    ownerId: request.ownerId,
    format: { prefix: format.prefix, length: format.length, alphabet },
    hashing: { algorithm, hmacSecret: hashing.hmacSecret.length > 0 ? hashing.hmacSecret : undefined },
    keys: keysOf(request),
    isAllOrNothing: request.mode === ImportMode.ALL_OR_NOTHING,
    validateOnly: request.validateOnly,
  });
  return create(ImportApiKeysResponseSchema, importAnswer(outcomes));
}

function* keysOf({ keys }: ImportApiKeysRequest) {
  for (const key of keys) {
    yield keyOf(key);
  }
}

/** The rules of a key's fields are those of CreateApiKeyRequest. */
function keyOf(key: ApiKeyToImport): KeyToImport | AuthError {
  const { name, permissions, allowedCidrs, environment, metadata, rateLimit } = key;
  const asked = create(CreateApiKeyRequestSchema, {
    name,
    permissions,
    allowedCidrs,
    environment,
    ...(key.expireTime && { expireTime: key.expireTime }),
    ...(metadata && { metadata }),
    ...(rateLimit && { rateLimit }),
  });
  const checked = validator.validate(CreateApiKeyRequestSchema, asked);
  if (checked.kind === "error") {
    throw checked.error;
  }
  if (checked.kind === "invalid") {
    return new AuthError("REQUEST_INVALID", { message: checked.error.message });
  }
  try {
    return {
      name,
      permissions,
      environment,
      allowedCidrs,
      expireTime: expireTimeOf(key.expireTime),
      metadata: metadata?.entries ?? {},
      rateLimit: rateLimit && { requests: rateLimit.requests, windowSeconds: rateLimit.windowSeconds },
      hash: key.hash,
      lookupPrefix: key.lookupPrefix,
    };
  } catch (error) {
    if (error instanceof AuthError) {
      return error;
    }
    throw error;
  }
}
