import { createHmac, timingSafeEqual } from "node:crypto";
import type { EntityManager } from "@mikro-orm/postgresql";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Seal } from "../storage/seal.ts";
import { noteChange } from "./call-changes.ts";
import { inUnitOfWork } from "./unit-of-work.ts";

/** How long an answer is kept for a retry. */
const KEPT = "10 minutes";
/** How many that have ended are thrown away on the way, so that nobody has to come by for them. */
const SWEPT_AT_ONCE = 100;

/** A create that its caller may send again. */
export interface OnceCall<Answer> {
  /** The principal. Nobody meets another's answers. */
  readonly callerId: string;
  readonly method: string;
  /** The caller's own word for this one create. */
  readonly idempotencyKey: string;
  /** All that the answer depends on. */
  readonly request: Uint8Array;
  readonly write: (answer: Answer) => Uint8Array;
  readonly read: (bytes: Uint8Array) => Answer;
  /** The id of the person that the answer tells of, if it does: it is thrown away when they are deleted. */
  readonly subjectOf?: (answer: Answer) => string | undefined;
}

/** Carries out creates at most once for each idempotency key. */
export interface Once {
  /**
   * @param work the create, on a storage whose units of work are all one transaction: that in which the answer
   * is kept. However a connection ends, both are there or neither is.
   * @throws AuthError IDEMPOTENCY_KEY_REUSED
   */
  run<Answer>(call: OnceCall<Answer>, work: (storage: Storage) => Promise<Answer>): Promise<Answer>;
}

/**
 * The answer holds a secret, and the request perhaps a password: the one is kept sealed, and of the other no
 * more than a digest under a key that is not in the database.
 *
 * @param digestKey 32 bytes, of no other use.
 */
export function createOnce(storage: Storage, seal: Seal, digestKey: Uint8Array): Once {
  return {
    async run(call, work) {
      const { callerId, method, idempotencyKey } = call;
      const place = placeOfAnswer(call);
      const digest = createHmac("sha256", digestKey).update(call.request).digest();

      return await inUnitOfWork(storage, async (unit) => {
        const { em } = unit;
        await sweep(em);
        if (!(await claim(em, call, digest))) {
          const kept = await find(em, call);
          if (!timingSafeEqual(kept.request_digest, digest)) {
            throw new AuthError("IDEMPOTENCY_KEY_REUSED");
          }
          if (kept.change_xid !== null) {
            noteChange(kept.change_xid);
          }
          return call.read(seal.open(kept.sealed_answer, place));
        }
        const answer = await work({ ...storage, fork: () => em });
        await em.execute(
          `update idempotency_keys set sealed_answer = ?, subject_id = ?, change_xid = ?::xid8
          where caller_id = ? and method = ? and idempotency_key = ?`,
          [
            seal.close(call.write(answer), place),
            call.subjectOf?.(answer) ?? null,
            unit.xid ?? null,
            callerId,
            method,
            idempotencyKey,
          ],
        );
        return answer;
      });
    },
  };
}

/** The one place where a kept answer opens. */
export function placeOfAnswer({
  callerId,
  method,
  idempotencyKey,
}: Pick<OnceCall<unknown>, "callerId" | "method" | "idempotencyKey">): string {
  return `idempotency_keys/${callerId}/${method}/${idempotencyKey}`;
}

async function sweep(em: EntityManager): Promise<void> {
  await em.execute(
    `delete from idempotency_keys where (caller_id, method, idempotency_key) in (
      select caller_id, method, idempotency_key from idempotency_keys
      where create_time < now() - interval '${KEPT}' limit ${SWEPT_AT_ONCE} for update skip locked)`,
  );
}

/** Whoever comes second waits here for the first, and then finds their answer, or has the turn. */
async function claim(
  em: EntityManager,
  { callerId, method, idempotencyKey }: Pick<OnceCall<unknown>, "callerId" | "method" | "idempotencyKey">,
  digest: Buffer,
): Promise<boolean> {
  const claimed: unknown[] = await em.execute(
    `insert into idempotency_keys as k (caller_id, method, idempotency_key, request_digest, sealed_answer)
    values (?, ?, ?, ?, '')
    on conflict (caller_id, method, idempotency_key) do update
      set request_digest = excluded.request_digest, sealed_answer = '', subject_id = null, change_xid = null, create_time = now()
      where k.create_time < now() - interval '${KEPT}'
    returning 1`,
    [callerId, method, idempotencyKey, digest],
  );
  return claimed.length > 0;
}

interface KeptAnswer {
  request_digest: Buffer;
  sealed_answer: Buffer;
  change_xid: string | null;
}

async function find(
  em: EntityManager,
  { callerId, method, idempotencyKey }: Pick<OnceCall<unknown>, "callerId" | "method" | "idempotencyKey">,
): Promise<KeptAnswer> {
  const [row] = await em.execute<KeptAnswer[]>(
    `select request_digest, sealed_answer, change_xid::text from idempotency_keys
    where caller_id = ? and method = ? and idempotency_key = ?`,
    [callerId, method, idempotencyKey],
  );
  if (row === undefined) {
    throw new Error("an idempotency key that is taken has a row");
  }
  return row;
}
