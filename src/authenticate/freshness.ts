import type { Hearing } from "../changes/change-feed.ts";

/** For how long what is remembered is trusted after it was last known that every change has been heard of. */
const TRUST_MILLIS = 5_000;

/**
 * Whether what was read of the database may be used without asking it again, unless a change of it was heard of.
 *
 * @param askedAt when it was read, or rather asked for, by performance.now().
 */
export function isTrusted({ provenAt }: Pick<Hearing, "provenAt">, askedAt: number): boolean {
  return performance.now() - Math.max(provenAt, askedAt) < TRUST_MILLIS;
}
