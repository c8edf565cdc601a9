import type { RunStatement } from "../storage/open-storage.ts";
import type { AuditKeys } from "./audit-keys.ts";
import { readCheckpoint, signCheckpoint } from "./checkpoint.ts";

/** How many chains are signed in one transaction. */
const MOST_AT_ONCE = 50;
/** How long a chain is left alone that contradicts its own last checkpoint. */
const SUSPECT_SECONDS = 3600;

interface DueChain {
  readonly chain: string;
  readonly now: Date;
  readonly sequence: string;
  readonly hash: string;
  readonly last_jws: string | null;
  /** What the chain has at the sequence of its last checkpoint. */
  readonly last_hash: string | null;
}

const DUE = `
  select due.chain, now() as now, head.sequence::text as sequence, encode(head.hash, 'hex') as hash,
    last.jws as last_jws, encode(signed.hash, 'hex') as last_hash
  from (select chain from audit_due_checkpoints where due_time <= now() order by due_time limit ${MOST_AT_ONCE})
    as due
  cross join lateral (
    select sequence, hash from audit_seals s where s.chain = due.chain order by sequence desc limit 1
  ) as head
  left join lateral (
    select sequence, jws from audit_checkpoints c where c.chain = due.chain order by sequence desc limit 1
  ) as last on true
  left join audit_seals as signed on signed.chain = due.chain and signed.sequence = last.sequence`;

/**
 * Signs the chains whose time has come, within a transaction that nobody else seals in. A chain that contradicts what
 * was signed before is not vouched for.
 *
 * @returns the chains that contradict it.
 */
export async function signDueCheckpoints(
  run: RunStatement,
  keys: AuditKeys,
  issuer: string,
): Promise<readonly string[]> {
  const suspects: string[] = [];
  for (const { chain, now, sequence, hash, last_jws, last_hash } of await run<DueChain>(DUE)) {
    const last = last_jws === null ? undefined : await readCheckpoint(keys, last_jws);
    if (last_jws !== null && (last === undefined || last.hash !== last_hash)) {
      suspects.push(chain);
      await run(
        "update audit_due_checkpoints set due_time = now() + $2 * interval '1 second' where chain = $1",
        [chain, SUSPECT_SECONDS],
      );
      continue;
    }
    if (last === undefined || last.sequence < BigInt(sequence)) {
      const state = { chain, sequence: BigInt(sequence), hash, createTime: now };
      const { id, jws } = await signCheckpoint(keys, issuer, state);
      await run("insert into audit_checkpoints (id, chain, sequence, jws) values ($1, $2, $3, $4)", [
        id,
        chain,
        sequence,
        jws,
      ]);
    }
    await run("delete from audit_due_checkpoints where chain = $1", [chain]);
  }
  return suspects;
}
