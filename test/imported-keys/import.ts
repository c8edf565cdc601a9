import { createHash, createHmac, randomBytes, randomInt } from "node:crypto";
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import {
  type ApiKeyToImportSchema,
  type ImportApiKeysRequestSchema,
  type ImportApiKeysResponse,
  ImportMode,
  ImportOutcome,
  KeyAlphabet,
  KeyHashAlgorithm,
} from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { query } from "../support/cluster.ts";
import { reasonOf } from "../support/refusal.ts";
import { ApiKeyService, AuthenticationService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";

export { ImportMode, ImportOutcome, KeyAlphabet, KeyHashAlgorithm };

/** What a message is made from, and no message. */
type Init<Schema extends DescMessage> = Extract<MessageInitShape<Schema>, { $typeName?: never }>;

export type ImportRequest = Init<typeof ImportApiKeysRequestSchema>;
export type KeyInit = Init<typeof ApiKeyToImportSchema>;

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export function randomText(length: number, digits = DIGITS): string {
  return Array.from({ length }, () => digits.charAt(randomInt(digits.length))).join("");
}

/** A text of the other system: `old_` and 36 characters to the base 62. */
export const oldKey = () => `old_${randomText(36)}`;

export const OLD_FORMAT = { prefix: "old_", length: 40, alphabet: KeyAlphabet.BASE62 } as const;

export const sha256 = (text: string) => createHash("sha256").update(text).digest();
export const hmac = (secret: Uint8Array, text: string) => createHmac("sha256", secret).update(text).digest();

/** A key to import with a digest of SHA-256, unless it says otherwise. */
export function keyOf(text: string, more: KeyInit = {}): KeyInit {
  return { name: "imported", permissions: ["calls.read"], hash: sha256(text), ...more };
}

/** Imports keys for the administrator of the service's organization, by SHA-256, unless it says otherwise. */
export async function importKeys(
  service: TestService,
  keys: readonly KeyInit[],
  more: ImportRequest = {},
): Promise<ImportApiKeysResponse> {
  return await service.client(ApiKeyService, { "x-internal-key": service.internalKey }).importApiKeys({
    organizationId: service.organizationId,
    ownerId: service.admin.id,
    format: OLD_FORMAT,
    hashing: { algorithm: KeyHashAlgorithm.SHA256 },
    mode: ImportMode.ALL_OR_NOTHING,
    keys: [...keys],
    ...more,
  });
}

/** Imports one key. @returns its id. */
export async function importKey(
  service: TestService,
  key: KeyInit,
  more: ImportRequest = {},
): Promise<string> {
  const { results } = await importKeys(service, [key], more);
  const [result] = results;
  if (result?.outcome !== ImportOutcome.IMPORTED) {
    throw new Error(`not imported: ${result?.reason} ${result?.message}`);
  }
  return result.id;
}

export const present = (service: TestService, text: string, name = "X-API-Key") =>
  service.client(AuthenticationService).authenticate({
    headers: [{ name, value: name === "Authorization" ? `Bearer ${text}` : text }],
  });

/** Why a text is refused; undefined: it is not. */
export const refusalOf = (service: TestService, text: string, name?: string) =>
  reasonOf(present(service, text, name));

interface HashRow {
  readonly rehashed: boolean;
  readonly salted_hash: string | null;
  readonly lookup_prefix: string | null;
}

/** What is kept of an imported key's foreign hash. */
export async function hashOf(service: TestService, id: string): Promise<HashRow> {
  const [row] = await query<HashRow>(
    service.connection,
    `select rehash_time is not null as rehashed, salted_hash, lookup_prefix from imported_key_hashes
     where api_key_id = $1`,
    [id],
  );
  if (row === undefined) {
    throw new Error("there is no such imported key");
  }
  return row;
}

export async function untilRehashed(service: TestService, id: string): Promise<void> {
  await until("the key is in a slot", async () => (await hashOf(service, id)).rehashed);
}

export const randomSecret = () => randomBytes(32);
