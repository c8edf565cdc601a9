import { fromJson, type JsonObject, type JsonValue } from "@bufbuild/protobuf";
import {
  type ApiKeyToImport,
  ApiKeyToImportSchema,
  KeyHashAlgorithm,
} from "../gen/latchkey/v1/api_key_pb.ts";
import { RowFault, type RowKind } from "./import-rows.ts";
import { parseMoment, parseRateLimit } from "./parse-option.ts";

/** How many bytes a digest has; what is not here is a text with its own salt. */
const DIGEST_BYTES: Readonly<Partial<Record<KeyHashAlgorithm, number>>> = {
  [KeyHashAlgorithm.SHA256]: 32,
  [KeyHashAlgorithm.SHA512]: 64,
  [KeyHashAlgorithm.HMAC_SHA256]: 32,
  [KeyHashAlgorithm.HMAC_SHA512]: 64,
};

/** The rows of a file of keys. */
export function keyRows(algorithm: KeyHashAlgorithm): RowKind<ApiKeyToImport> {
  return {
    columns: [
      "name",
      "permissions",
      "expireTime",
      "allowedCidrs",
      "environment",
      "rateLimit",
      "hash",
      "lookupPrefix",
    ],
    group: "metadata.",
    required: "hash",
    name: "name",
    lists: ["permissions", "allowedCidrs"],
    read: (fields) => readKey(fields, algorithm),
  };
}

/** By the JSON mapping of protobuf, with what is easier to write in a file. @throws RowFault */
function readKey(fields: JsonObject, algorithm: KeyHashAlgorithm): ApiKeyToImport {
  const { hash, metadata, rateLimit, expireTime, ...others } = fields;
  const hashBytes = readHash(hash, algorithm);
  const json = {
    ...others,
    ...(metadata !== undefined && { metadata: { entries: metadata } }),
    ...(rateLimit !== undefined && readRateLimit(rateLimit)),
    ...(expireTime !== undefined && { expireTime: readMoment(expireTime) }),
  };
  try {
    return { ...fromJson(ApiKeyToImportSchema, json), hash: hashBytes };
  } catch (error) {
    throw new RowFault("REQUEST_INVALID", error instanceof Error ? error.message : String(error));
  }
}

/** Digests are written in hexadecimal or in base64: their length tells which. */
function readHash(hash: JsonValue | undefined, algorithm: KeyHashAlgorithm): Uint8Array<ArrayBuffer> {
  if (typeof hash !== "string" || hash === "") {
    throw new RowFault("KEY_HASH_INVALID", "the row has no hash");
  }
  const bytes = DIGEST_BYTES[algorithm];
  if (bytes === undefined) {
    return new TextEncoder().encode(hash);
  }
  const isHex = hash.length === 2 * bytes && /^[0-9a-f]*$/i.test(hash);
  const isBase64 = /^[\w+/-]*={0,2}$/.test(hash);
  const digest = isHex ? Buffer.from(hash, "hex") : Buffer.from(isBase64 ? hash : "", "base64");
  if (digest.length !== bytes) {
    throw new RowFault("KEY_HASH_INVALID", `the hash is not ${bytes} bytes, in hexadecimal or base64`);
  }
  return new Uint8Array(digest);
}

function readRateLimit(value: JsonValue): JsonObject {
  if (typeof value !== "string") {
    return { rateLimit: value };
  }
  const limit = faultOf("rateLimit", () => parseRateLimit(value));
  return limit === "none" ? {} : { rateLimit: { ...limit } };
}

function readMoment(value: JsonValue): JsonValue {
  return typeof value === "string" ? faultOf("expireTime", () => parseMoment(value).toISOString()) : value;
}

function faultOf<Value>(field: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw new RowFault("REQUEST_INVALID", `${field}: ${error instanceof Error ? error.message : error}`);
  }
}
