import type { RunStatement } from "../storage/open-storage.ts";
import { eventDigest, NO_HASH, STORED_EVENT, type StoredEvent, sealHash } from "./sealed-form.ts";

/** How many events are sealed in one transaction. */
export const MOST_AT_ONCE = 500;

/** When a chain is due to be signed. */
export interface CheckpointPace {
  /** How long after it has grown. */
  readonly seconds: number;
  /** Or at once, when it has grown by so many. */
  readonly events: number;
}

/** The end of a chain. */
interface Head {
  readonly chain: string;
  sequence: bigint;
  hash: string;
  /** Of its last checkpoint. */
  readonly signed: bigint;
}

// An event is in the queue as soon as others can see it, and its place in the chain is where it is sealed: so no
// event comes in behind another, whenever its transaction ends, and none has to wait for transactions that are older.
// Some may be sealed already: where somebody has put them back.
const WAITING = `
  select q.event_id, coalesce(e.chain, q.chain) as chain, ${STORED_EVENT},
    exists (select from audit_seals s where s.event_id = q.event_id) as sealed
  from (select event_id, chain from audit_unsealed order by event_id limit ${MOST_AT_ONCE}) as q
  left join audit_events e on e.id = q.event_id
  order by q.event_id`;

/** Where somebody has removed the event before: the seal says so for good. */
interface Removed {
  readonly id: null;
}

type Waiting = (StoredEvent | Removed) & {
  readonly event_id: string;
  readonly chain: string;
  readonly sealed: boolean;
};

const HEADS = `
  select asked.chain, coalesce(head.sequence, 0)::text as sequence, encode(head.hash, 'hex') as hash,
    coalesce(checkpoint.sequence, 0)::text as signed
  from jsonb_array_elements_text($1::jsonb) as texts (chain)
  cross join lateral (select texts.chain::uuid as chain) as asked
  left join lateral (
    select sequence, hash from audit_seals s where s.chain = asked.chain order by sequence desc limit 1
  ) as head on true
  left join lateral (
    select sequence from audit_checkpoints c where c.chain = asked.chain order by sequence desc limit 1
  ) as checkpoint on true`;

const INSERT = `
  insert into audit_seals (chain, sequence, event_id, event_digest, hash)
  select chain, sequence, event_id, decode(event_digest, 'hex'), decode(hash, 'hex')
  from jsonb_to_recordset($1::jsonb) as s (
    chain uuid, sequence bigint, event_id uuid, event_digest text, hash text)`;

const DONE = `
  delete from audit_unsealed where event_id in (select jsonb_array_elements_text($1::jsonb)::uuid)`;

const DUE = `
  insert into audit_due_checkpoints as due (chain, due_time)
  select chain, now() + wait * interval '1 second' from jsonb_to_recordset($1::jsonb) as d (chain uuid, wait float8)
  on conflict (chain) do update set due_time = least(due.due_time, excluded.due_time)`;

/**
 * Puts events that wait at the ends of their chains, within a transaction that nobody else seals in.
 *
 * @returns how many it has looked at; as many as it may: there are perhaps more.
 */
export async function sealEvents(run: RunStatement, pace: CheckpointPace): Promise<number> {
  const waiting = await run<Waiting>(WAITING);
  if (waiting.length === 0) {
    return 0;
  }
  const fresh = waiting.filter(({ sealed }) => !sealed);
  const heads = await headsOf(run, [...new Set(fresh.map(({ chain }) => chain))]);
  const seals = fresh.map((event) => {
    const head = heads.get(event.chain);
    if (head === undefined) {
      throw new Error("every chain that is asked about has an end");
    }
    const digest = event.id === null ? NO_HASH : eventDigest(event);
    const { chain, event_id: eventId } = event;
    const sequence = head.sequence + 1n;
    head.hash = sealHash({ previousHash: head.hash, chain, sequence, eventId, eventDigest: digest });
    head.sequence = sequence;
    return { chain, sequence: String(sequence), event_id: eventId, event_digest: digest, hash: head.hash };
  });
  await run(INSERT, [JSON.stringify(seals)]);
  await run(DONE, [JSON.stringify(waiting.map(({ event_id }) => event_id))]);
  const due = [...heads.values()].map(({ chain, sequence, signed }) => ({
    chain,
    wait: sequence - signed >= BigInt(pace.events) ? 0 : pace.seconds,
  }));
  await run(DUE, [JSON.stringify(due)]);
  return waiting.length;
}

async function headsOf(run: RunStatement, chains: readonly string[]): Promise<Map<string, Head>> {
  const rows = await run<{ chain: string; sequence: string; hash: string | null; signed: string }>(HEADS, [
    JSON.stringify(chains),
  ]);
  return new Map(
    rows.map(({ chain, sequence, hash, signed }) => [
      chain,
      { chain, sequence: BigInt(sequence), hash: hash ?? NO_HASH, signed: BigInt(signed) },
    ]),
  );
}
