import { IsolationLevel } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { type Seal, SealBroken } from "../storage/seal.ts";
import { digestOfPersonal, personalDigest } from "./audit-event.ts";
import type { AuditKeys } from "./audit-keys.ts";
import { readCheckpoint } from "./checkpoint.ts";
import { eventDigest, NO_HASH, STORED_EVENT, type StoredEvent, sealHash } from "./sealed-form.ts";

/** How many events one call looks at. */
const MOST_AT_ONCE = 2_000;

export type FaultKind =
  | "EVENT_ALTERED"
  | "EVENT_REMOVED"
  | "EVENT_INSERTED"
  | "PERSONAL_DATA_ALTERED"
  | "SEAL_ALTERED"
  | "SEAL_REMOVED"
  | "CHAIN_TRUNCATED"
  | "CHAIN_REWRITTEN"
  | "CHECKPOINT_ALTERED";

export interface Fault {
  readonly kind: FaultKind;
  /** 0: at no place of the chain. */
  readonly sequence: bigint;
  /** Empty: of no event. */
  readonly eventId: string;
}

export interface Verification {
  readonly fault: Fault | undefined;
  readonly verifiedEvents: bigint;
  readonly verifiedCheckpoints: bigint;
  readonly unsealedEvents: bigint;
  readonly oldestUnsealedTime: Date | undefined;
  readonly nextPageToken: string;
}

/** How far a verification has come: what a page token carries, sealed. */
interface Progress {
  readonly chain: string;
  /** The sequence and the hash of the last seal that was found good. */
  readonly sequence: string;
  readonly hash: string;
  readonly checkpoints: string;
  /** What was kept elsewhere, and is yet to be met. */
  readonly kept: { readonly sequence: string; readonly hash: string } | null;
  /** Once the chain is through: the last event that was found to be in it. */
  readonly after: { readonly time: string; readonly id: string } | null;
  readonly isThrough: boolean;
}

export interface VerifyParts {
  readonly storage: Storage;
  readonly seal: Seal;
  readonly auditKeys: AuditKeys;
}

const PLACE = "audit_verification";

/**
 * Verifies a chain that the caller may read, a part of it at a time: first that its seals follow from each other, that
 * each event says what it said when it was sealed, and that the chain is the one that was signed; then that every
 * event is sealed, or waits to be.
 *
 * @param asked.checkpoint one that was kept elsewhere. Empty: there is none.
 * @throws AuthError PAGE_TOKEN_INVALID
 */
export async function verifyAuditLog(
  parts: VerifyParts,
  chain: string,
  asked: { readonly pageToken: string; readonly checkpoint: string },
): Promise<Verification> {
  const begun = asked.pageToken === "" ? await begin(parts, chain, asked.checkpoint) : undefined;
  const start = begun ?? readToken(parts.seal, chain, asked.pageToken);
  // As one look at the database: it goes on being written to.
  return await parts.storage.fork().transactional(
    async (em) => {
      const waiting = await unsealed(em, chain);
      if (isFault(start)) {
        return verificationOf(start, undefined, waiting, "");
      }
      const removed = begun === undefined ? undefined : await removedBeforeSealing(em, chain);
      const walked = removed ?? (await walk(parts, em, start));
      if (isFault(walked)) {
        return verificationOf(walked, start, waiting, "");
      }
      const token = walked.isOver ? "" : writeToken(parts.seal, walked.progress);
      return verificationOf(undefined, walked.progress, waiting, token);
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  );
}

interface Walk {
  readonly progress: Progress;
  readonly isOver: boolean;
}

const isFault = (what: Fault | object): what is Fault => "kind" in what;

/** A record that is small is through in one call. */
async function walk(parts: VerifyParts, em: EntityManager, from: Progress): Promise<Walk | Fault> {
  const walked = from.isThrough ? from : await walkSeals(parts, em, from);
  if (isFault(walked)) {
    return walked;
  }
  return walked.isThrough ? await walkEvents(em, walked) : { progress: walked, isOver: false };
}

async function begin(parts: VerifyParts, chain: string, jws: string): Promise<Progress | Fault> {
  const kept = jws === "" ? undefined : await readCheckpoint(parts.auditKeys, jws);
  if (jws !== "" && kept?.chain !== chain) {
    return { kind: "CHECKPOINT_ALTERED", sequence: kept?.sequence ?? 0n, eventId: "" };
  }
  return {
    chain,
    sequence: "0",
    hash: NO_HASH,
    checkpoints: "0",
    kept: kept === undefined ? null : { sequence: String(kept.sequence), hash: kept.hash },
    after: null,
    isThrough: false,
  };
}

interface SealRow extends Omit<StoredEvent, "id"> {
  readonly sequence: string;
  readonly sealed_event_id: string;
  readonly event_digest: string;
  readonly hash: string;
  /** Null: the event is gone. */
  readonly id: string | null;
}

async function walkSeals(
  { auditKeys }: VerifyParts,
  em: EntityManager,
  from: Progress,
): Promise<Progress | Fault> {
  const { chain } = from;
  // From the very first: a sequence that no seal may have is a fault too.
  const least = from.sequence === "0" ? String(-(2n ** 63n)) : String(BigInt(from.sequence) + 1n);
  const rows: SealRow[] = await em.execute(
    `select s.sequence::text as sequence, s.event_id as sealed_event_id, encode(s.event_digest, 'hex') as event_digest,
      encode(s.hash, 'hex') as hash, ${STORED_EVENT}
    from (select * from audit_seals where chain = ? and sequence >= ? order by sequence limit ${MOST_AT_ONCE}) as s
    left join audit_events e on e.id = s.event_id
    order by s.sequence`,
    [chain, least],
  );
  const isLast = rows.length < MOST_AT_ONCE;
  const personal = await personalFaults(
    em,
    rows.flatMap(({ id, personal_digest }) => (id === null ? [] : [{ id, personal_digest }])),
  );
  const checkpoints = await checkpointsOf(
    auditKeys,
    em,
    chain,
    least,
    isLast ? undefined : rows.at(-1)?.sequence,
  );
  let sequence = BigInt(from.sequence);
  let { hash } = from;
  let met = BigInt(from.checkpoints);
  for (const row of rows) {
    const fault = faultOf(chain, { sequence, hash }, row, personal);
    if (fault !== undefined) {
      return fault;
    }
    sequence++;
    hash = row.hash;
    for (const checkpoint of checkpoints.get(sequence) ?? []) {
      if (!checkpoint.isSigned) {
        return { kind: "CHECKPOINT_ALTERED", sequence, eventId: "" };
      }
      if (checkpoint.hash !== hash) {
        return { kind: "CHAIN_REWRITTEN", sequence, eventId: "" };
      }
      met++;
    }
    checkpoints.delete(sequence);
    if (from.kept?.sequence === String(sequence)) {
      if (from.kept.hash !== hash) {
        return { kind: "CHAIN_REWRITTEN", sequence, eventId: "" };
      }
      met++;
    }
  }
  const beyond =
    isLast && (checkpoints.size > 0 || (from.kept !== null && BigInt(from.kept.sequence) > sequence));
  if (beyond) {
    const forged = [...checkpoints.values()].flat().find(({ isSigned }) => !isSigned);
    return forged === undefined
      ? { kind: "CHAIN_TRUNCATED", sequence: sequence + 1n, eventId: "" }
      : { kind: "CHECKPOINT_ALTERED", sequence: forged.sequence, eventId: "" };
  }
  return { ...from, sequence: String(sequence), hash, checkpoints: String(met), isThrough: isLast };
}

function faultOf(
  chain: string,
  previous: { readonly sequence: bigint; readonly hash: string },
  row: SealRow,
  personal: ReadonlySet<string>,
): Fault | undefined {
  const sequence = BigInt(row.sequence);
  const expected = previous.sequence + 1n;
  const { sealed_event_id: eventId, event_digest: digest } = row;
  if (sequence > expected) {
    return { kind: "SEAL_REMOVED", sequence: expected, eventId: "" };
  }
  const hash = sealHash({ previousHash: previous.hash, chain, sequence, eventId, eventDigest: digest });
  if (sequence < expected || hash !== row.hash) {
    return { kind: "SEAL_ALTERED", sequence, eventId };
  }
  if (row.id === null) {
    return { kind: "EVENT_REMOVED", sequence, eventId };
  }
  if (eventDigest({ ...row, id: row.id }) !== digest) {
    return { kind: "EVENT_ALTERED", sequence, eventId };
  }
  return personal.has(row.id) ? { kind: "PERSONAL_DATA_ALTERED", sequence, eventId } : undefined;
}

interface PersonalRow {
  readonly event_id: string;
  readonly position: number;
  readonly user_id: string | null;
  readonly salt: string | null;
  readonly data: string | null;
  readonly digest: string;
}

/** Those of the events whose personal data is not what they carry the digest of. */
async function personalFaults(
  em: EntityManager,
  events: readonly { readonly id: string; readonly personal_digest: string | null }[],
): Promise<ReadonlySet<string>> {
  const rows: PersonalRow[] = await em.execute(
    `select event_id, position, user_id, encode(salt, 'hex') as salt, data, encode(digest, 'hex') as digest
    from audit_personal_data
    where event_id in (select jsonb_array_elements_text(?::jsonb)::uuid) order by event_id, position`,
    [JSON.stringify(events.map(({ id }) => id))],
  );
  const of = Map.groupBy(rows, ({ event_id }) => event_id);
  const isWrong = ({ position, salt, user_id, data, digest }: PersonalRow, at: number) =>
    position !== at ||
    (salt === null || data === null
      ? salt !== data
      : digestOfPersonal(Buffer.from(salt, "hex"), user_id, data) !== digest);
  return new Set(
    events
      .filter(({ id, personal_digest }) => {
        const own = of.get(id) ?? [];
        return personalDigest(own.map(({ digest }) => digest)) !== personal_digest || own.some(isWrong);
      })
      .map(({ id }) => id),
  );
}

interface KnownCheckpoint {
  readonly sequence: bigint;
  /** Whether this deployment has signed it, for this chain and this place. */
  readonly isSigned: boolean;
  readonly hash: string | undefined;
}

/** The checkpoints of a part of a chain, by their sequences. */
async function checkpointsOf(
  keys: AuditKeys,
  em: EntityManager,
  chain: string,
  least: string,
  most: string | undefined,
): Promise<Map<bigint, KnownCheckpoint[]>> {
  const rows: { id: string; sequence: string; jws: string }[] = await em.execute(
    `select id, sequence::text as sequence, jws from audit_checkpoints
    where chain = ? and sequence >= ? and sequence <= ? order by sequence limit ${MOST_AT_ONCE}`,
    [chain, least, most ?? String(2n ** 63n - 1n)],
  );
  const known = await Promise.all(
    rows.map(async ({ id, sequence, jws }) => {
      const signed = await readCheckpoint(keys, jws);
      const isSigned = signed?.id === id && signed.chain === chain && String(signed.sequence) === sequence;
      return { sequence: BigInt(sequence), isSigned, hash: signed?.hash };
    }),
  );
  return Map.groupBy(known, ({ sequence }) => sequence);
}

/** Then the other way round: that every event is in the chain, or is on its way. */
async function walkEvents(em: EntityManager, from: Progress): Promise<Walk | Fault> {
  const { chain, after } = from;
  const rows: { id: string; time: string; is_known: boolean }[] = await em.execute(
    `select e.id, e.occur_time::text as time, s.event_id is not null or q.event_id is not null as is_known
    from (
      select id, occur_time from audit_events where chain = ?
        ${after === null ? "" : "and (occur_time, id) > (?::timestamptz, ?::uuid)"}
      order by occur_time, id limit ${MOST_AT_ONCE}
    ) as e
    left join audit_seals s on s.event_id = e.id and s.chain = ?
    left join audit_unsealed q on q.event_id = e.id
    order by e.occur_time, e.id`,
    [chain, ...(after === null ? [] : [after.time, after.id]), chain],
  );
  const unknown = rows.find(({ is_known }) => !is_known);
  if (unknown !== undefined) {
    return { kind: "EVENT_INSERTED", sequence: 0n, eventId: unknown.id };
  }
  const last = rows.at(-1);
  const progress = last === undefined ? from : { ...from, after: { time: last.time, id: last.id } };
  return { progress, isOver: rows.length < MOST_AT_ONCE };
}

/** An event that was removed while it waited has left its place in the queue. */
async function removedBeforeSealing(em: EntityManager, chain: string): Promise<Fault | undefined> {
  const [row] = await em.execute<{ event_id: string }[]>(
    `select q.event_id from audit_unsealed q left join audit_events e on e.id = q.event_id
    where q.chain = ? and e.id is null order by q.event_id limit 1`,
    [chain],
  );
  return row && { kind: "EVENT_REMOVED", sequence: 0n, eventId: row.event_id };
}

interface Unsealed {
  readonly count: bigint;
  readonly oldest: Date | undefined;
}

async function unsealed(em: EntityManager, chain: string): Promise<Unsealed> {
  const [row] = await em.execute<[{ count: string; oldest: number | null }]>(
    `select count(*)::text as count, (extract(epoch from min(e.occur_time)) * 1000)::float8 as oldest
    from audit_unsealed q left join audit_events e on e.id = q.event_id where q.chain = ?`,
    [chain],
  );
  return { count: BigInt(row.count), oldest: row.oldest === null ? undefined : new Date(row.oldest) };
}

function verificationOf(
  fault: Fault | undefined,
  progress: Progress | undefined,
  { count, oldest }: Unsealed,
  nextPageToken: string,
): Verification {
  return {
    fault,
    verifiedEvents:
      fault !== undefined && fault.sequence > 0n ? fault.sequence - 1n : BigInt(progress?.sequence ?? 0),
    verifiedCheckpoints: BigInt(progress?.checkpoints ?? 0),
    unsealedEvents: count,
    oldestUnsealedTime: oldest,
    nextPageToken,
  };
}

function writeToken(seal: Seal, progress: Progress): string {
  return seal.close(Buffer.from(JSON.stringify(progress)), PLACE).toString("base64url");
}

function readToken(seal: Seal, chain: string, token: string): Progress {
  const bytes = Buffer.from(token, "base64url");
  try {
    const progress = JSON.parse(seal.open(bytes, PLACE).toString()) as Progress;
    if (bytes.toString("base64url") === token && progress.chain === chain) {
      return progress;
    }
  } catch (error) {
    if (!(error instanceof SealBroken)) {
      throw error;
    }
  }
  throw new AuthError("PAGE_TOKEN_INVALID");
}
