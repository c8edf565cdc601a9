import { createHash } from "node:crypto";

// What is hashed, and in which form: docs/audit.md tells it to those who want to do it themselves.

/** The record of the platform itself, by the id that no organization has (RFC 9562 section 5.9). */
export const PLATFORM_CHAIN = "00000000-0000-0000-0000-000000000000";

/** Before the first seal of a chain. */
export const NO_HASH = "0".repeat(64);

/** An event as it is kept, each column as a text of PostgreSQL's. */
export interface StoredEvent {
  readonly id: string;
  readonly organization_id: string | null;
  /** Microseconds since the epoch. */
  readonly occur_micros: string;
  readonly actor_type: string;
  readonly actor_id: string;
  readonly on_behalf_of: string | null;
  readonly action: string;
  readonly target_id: string;
  readonly detail: string;
  readonly request_id: string;
  /** In hexadecimal digits. */
  readonly personal_digest: string | null;
}

/** The columns of a StoredEvent, of the table as `e`. */
export const STORED_EVENT = `
  e.id, e.organization_id, (extract(epoch from e.occur_time) * 1000000)::bigint::text as occur_micros,
  e.actor_type, e.actor_id, e.on_behalf_of, e.action, e.target_id, e.detail::text as detail, e.request_id,
  encode(e.personal_digest, 'hex') as personal_digest`;

/** SHA-256 of everything that an event says, in hexadecimal digits. */
export function eventDigest(event: StoredEvent): string {
  return digestOf([
    "latchkey audit event 1",
    event.id,
    event.organization_id,
    event.occur_micros,
    event.actor_type,
    event.actor_id,
    event.on_behalf_of,
    event.action,
    event.target_id,
    event.detail,
    event.request_id,
    event.personal_digest,
  ]);
}

export interface SealToHash {
  /** The hash of the seal before it. */
  readonly previousHash: string;
  readonly chain: string;
  readonly sequence: bigint;
  readonly eventId: string;
  readonly eventDigest: string;
}

/** SHA-256 of a seal and thereby of all before it, in hexadecimal digits. */
export function sealHash({
  previousHash,
  chain,
  sequence,
  eventId,
  eventDigest: digest,
}: SealToHash): string {
  return digestOf(["latchkey audit seal 1", previousHash, chain, String(sequence), eventId, digest]);
}

/** A list of texts is written as JSON in one way only, and no two lists in the same. */
function digestOf(parts: readonly (string | null)[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
