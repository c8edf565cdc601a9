import { fromJson, type JsonObject, type JsonValue } from "@bufbuild/protobuf";
import {
  type ApiKeyToImport,
  ApiKeyToImportSchema,
  KeyHashAlgorithm,
} from "../gen/latchkey/v1/api_key_pb.ts";
import { CommandError } from "./command-error.ts";
import { csvRecords } from "./csv-records.ts";
import { parseMoment, parseRateLimit } from "./parse-option.ts";
import { type Line, readLines } from "./read-lines.ts";

export type FileFormat = "jsonl" | "csv";

/** One row of the file. */
export interface ImportRow {
  /** On which line it begins. */
  readonly line: number;
  readonly name: string;
  /** Undefined: it cannot be sent. */
  readonly key?: ApiKeyToImport;
  /** Why not. */
  readonly fault?: RowFault;
}

/** What is wrong with one row, by the reason that the service would give. */
export class RowFault extends Error {
  override readonly name = "RowFault";
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** How many bytes a digest has; what is not here is a text with its own salt. */
const DIGEST_BYTES: Readonly<Partial<Record<KeyHashAlgorithm, number>>> = {
  [KeyHashAlgorithm.SHA256]: 32,
  [KeyHashAlgorithm.SHA512]: 64,
  [KeyHashAlgorithm.HMAC_SHA256]: 32,
  [KeyHashAlgorithm.HMAC_SHA512]: 64,
};

const COLUMNS = [
  "name",
  "permissions",
  "expireTime",
  "allowedCidrs",
  "environment",
  "rateLimit",
  "hash",
  "lookupPrefix",
] as const;
const METADATA = "metadata.";

/**
 * The rows of a file of keys, one at a time.
 *
 * @throws CommandError where the file itself is wrong, rather than a row of it.
 */
export async function* readRows(
  path: string,
  format: FileFormat,
  algorithm: KeyHashAlgorithm,
): AsyncGenerator<ImportRow> {
  const lines = readLines(path);
  for await (const { line, fields } of format === "csv" ? csvObjects(path, lines) : jsonObjects(lines)) {
    yield readRow(line, fields, algorithm);
  }
}

interface RowObject {
  readonly line: number;
  readonly fields: JsonObject | RowFault;
}

async function* jsonObjects(lines: AsyncIterable<Line>): AsyncGenerator<RowObject> {
  for await (const { number, text } of lines) {
    if (text.trim() !== "") {
      yield { line: number, fields: jsonObject(text) };
    }
  }
}

function jsonObject(text: string): JsonObject | RowFault {
  try {
    const value: JsonValue = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value;
    }
  } catch {
    // Told below. The parser's own words repeat the line, and with it the hash.
  }
  return new RowFault("REQUEST_INVALID", "the line is no JSON object");
}

async function* csvObjects(path: string, lines: AsyncIterable<Line>): AsyncGenerator<RowObject> {
  let columns: readonly string[] | undefined;
  for await (const { line, fields } of csvRecords(lines)) {
    if (columns === undefined) {
      columns = readHeader(path, fields);
    } else {
      yield { line, fields: csvObject(columns, fields) };
    }
  }
}

/** Names as in JSON, or with underscores as in the contract. */
function readHeader(path: string, fields: readonly string[]): readonly string[] {
  const columns = fields.map((field) => {
    const name = field.trim();
    return name.startsWith(METADATA) ? name : name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
  });
  const wrong = columns.filter(
    (name, at) =>
      columns.indexOf(name) !== at ||
      !(name.startsWith(METADATA) || COLUMNS.some((column) => column === name)),
  );
  if (wrong.length > 0 || !columns.includes("hash")) {
    throw new CommandError(
      `${path}: the first line names the columns, each once, hash among them: ${COLUMNS.join(", ")}, ${METADATA}…`,
    );
  }
  return columns;
}

function csvObject(columns: readonly string[], fields: readonly string[]): JsonObject | RowFault {
  if (fields.length !== columns.length) {
    return new RowFault(
      "REQUEST_INVALID",
      `the row has ${fields.length} fields, its header ${columns.length}`,
    );
  }
  const cells = columns
    .map((name, at) => [name, fields[at] ?? ""] as const)
    .filter(([, cell]) => cell !== "");
  const metadata = cells.filter(([name]) => name.startsWith(METADATA));
  const others = cells
    .filter(([name]) => !name.startsWith(METADATA))
    .map(([name, cell]) => [
      name,
      name === "permissions" || name === "allowedCidrs" ? cell.trim().split(/[\s,;]+/) : cell,
    ]);
  return {
    ...Object.fromEntries(others),
    ...(metadata.length > 0 && {
      metadata: Object.fromEntries(metadata.map(([name, cell]) => [name.slice(METADATA.length), cell])),
    }),
  };
}

function readRow(line: number, fields: JsonObject | RowFault, algorithm: KeyHashAlgorithm): ImportRow {
  if (fields instanceof RowFault) {
    return { line, name: "", fault: fields };
  }
  const name = typeof fields["name"] === "string" ? fields["name"] : "";
  try {
    return { line, name, key: readKey(fields, algorithm) };
  } catch (error) {
    if (!(error instanceof RowFault)) {
      throw error;
    }
    return { line, name, fault: error };
  }
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
