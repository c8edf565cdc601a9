import type { Tag } from "../changes/mutate.ts";
import { AuthError, type Reason, type RefusedSubject } from "../errors.ts";
import type { Decision, Identity } from "./decision.ts";
import type { HeldSecret, Trace } from "./trace.ts";

/**
 * A credential that was proved to be one, and all that is true of it whenever and by whomever it is asked about.
 * What varies by call is left open: the time, the permissions that are needed, the client's address.
 */
export interface Proof {
  /** Whose it is, for the record, until it is known whom it stands for. Undefined: the same one. */
  readonly subject?: RefusedSubject;
  /** The secret of a key, which was presented or which the token was got with. Undefined: there is none to count. */
  readonly held: HeldSecret | undefined;
  /** Why it is refused from which time on. The first that holds is told. */
  readonly ends: readonly End[];
  /** Who it stands for until then. */
  readonly identity: Identity;
  /** The newest decision by it: see decisionOf(). */
  decision?: Decision;
  /** What all this depends on. */
  readonly tags: readonly Tag[];
  /** The database's time when it was read, in milliseconds since the epoch. */
  readonly readMillis: number;
  /** Whether it is another one for another organization that is named. */
  readonly variesByOrganization: boolean;
  /** It holds for this once: it must not be remembered. */
  readonly onlyNow?: boolean;
}

/** The database says that a text is no credential: it has the form of one, and is nobody's. */
export interface Disproof {
  readonly disproved: Reason;
}

/** Something that ends what a credential is good for. */
export interface End {
  readonly reason: Reason;
  /** In milliseconds since the epoch: -Infinity for what has ended whenever that was, Infinity for what has no end. */
  readonly atMillis: number;
  /** What is looked at, and what was found, for people: see Trace. */
  readonly step: string;
  readonly detail: () => string;
}

/** When something ends of which it is known whether it has. */
export function endedAlready(hasEnded: boolean): number {
  return hasEnded ? -Infinity : Infinity;
}

/** In milliseconds since the epoch. PostgreSQL also knows `infinity`, which is no date of JavaScript's. */
export function endMillis(time: Date | undefined): number {
  return time === undefined ? Infinity : Number(time);
}

/**
 * Who a proved credential stands for at this time and for this caller.
 *
 * @throws AuthError with the reason of the first end that has come, or ORGANIZATION_MISMATCH.
 */
export function identityAt(
  { subject, held, ends, identity }: Proof,
  nowMillis: number,
  callerOrganizationId: string,
  trace: Trace,
): Identity {
  if (held !== undefined) {
    trace.holds(held);
  }
  trace.names(subject ?? identity);
  if (identity.organization !== undefined) {
    requireCallersOwn(identity.organization, callerOrganizationId, trace);
  }
  for (const { atMillis, reason, step, detail } of ends) {
    trace.check(step, detail);
    // What is no time has come too.
    if (!(atMillis > nowMillis)) {
      throw new AuthError(reason);
    }
  }
  trace.names(identity);
  return identity;
}

/**
 * Whoever asks for one organization learns of another's credential that it is another's, and nothing of its state.
 *
 * @param callerOrganizationId empty: whoever asks is bound to none.
 * @throws AuthError ORGANIZATION_MISMATCH
 */
function requireCallersOwn(
  { id }: { readonly id: string },
  callerOrganizationId: string,
  trace: Pick<Trace, "check">,
): void {
  if (callerOrganizationId !== "" && id !== callerOrganizationId) {
    trace.check("organization", () => "the caller's own");
    throw new AuthError("ORGANIZATION_MISMATCH");
  }
}
