import { auditKeyPlace } from "./audit/audit-keys.ts";
import { placeOfAnswer } from "./changes/once.ts";
import type { SealedColumn } from "./changes/rekey.ts";
import { placeOfHmacSecret } from "./credentials/imported-key/stored-format.ts";
import { placeOfPepper } from "./credentials/key-digest.ts";
import { placeOfSigningKey } from "./credentials/signing-key/new-signing-key.ts";

/** Everything in the database that is sealed under the encryption key. */
export const SEALED_COLUMNS: readonly SealedColumn[] = [
  {
    table: "peppers",
    column: "sealed_secret",
    key: ["id"],
    place: ([id = ""]) => placeOfPepper(id),
    tags: [],
  },
  {
    table: "signing_keys",
    column: "sealed_private_key",
    key: ["kid"],
    place: ([kid = ""]) => placeOfSigningKey(kid),
    tags: [],
  },
  {
    table: "audit_keys",
    column: "sealed_private_key",
    key: ["kid"],
    place: ([kid = ""]) => auditKeyPlace(kid),
    tags: [],
  },
  {
    table: "imported_key_formats",
    column: "sealed_hmac_secret",
    key: ["id"],
    place: ([id = ""]) => placeOfHmacSecret(id),
    tags: ["key_formats"],
  },
  {
    table: "idempotency_keys",
    column: "sealed_answer",
    key: ["caller_id", "method", "idempotency_key"],
    place: ([callerId = "", method = "", idempotencyKey = ""]) =>
      placeOfAnswer({ callerId, method, idempotencyKey }),
    tags: [],
  },
];
