import type { Storage } from "../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../storage/page.ts";
import type { AuditKeys } from "./audit-keys.ts";
import { type Checkpoint, readCheckpoint } from "./checkpoint.ts";

export interface SignedCheckpoint {
  readonly id: string;
  readonly sequence: bigint;
  readonly jws: string;
  /** What was signed. Undefined: the signature does not hold. */
  readonly signed: Checkpoint | undefined;
}

/**
 * Lists the checkpoints of a chain that the caller may read, newest first.
 *
 * @throws AuthError PAGE_TOKEN_INVALID
 */
export async function listAuditCheckpoints(
  parts: { readonly storage: Storage; readonly pager: Pager; readonly auditKeys: AuditKeys },
  chain: string,
  request: PageRequest,
): Promise<Page<SignedCheckpoint>> {
  const page = await parts.pager.page(`audit_checkpoints ${chain}`, request, async (after, limit) => {
    const rows: { id: string; sequence: string; jws: string }[] = await parts.storage.fork().execute(
      `select id, sequence::text as sequence, jws from audit_checkpoints
        where chain = ? ${after === undefined ? "" : "and id < ?"} order by id desc limit ${limit}`,
      after === undefined ? [chain] : [chain, after],
    );
    return rows;
  });
  const rows = await Promise.all(
    page.rows.map(async ({ id, sequence, jws }) => ({
      id,
      sequence: BigInt(sequence),
      jws,
      signed: await readCheckpoint(parts.auditKeys, jws),
    })),
  );
  return { ...page, rows };
}
