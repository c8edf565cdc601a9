import type { Refusal } from "../audit/refusal-tally.ts";
import { type Decision, subjectOf } from "../authenticate/decision.ts";
import { AuthError, type Reason } from "../errors.ts";

/** What tells of somebody who tries, beside what is `unauthenticated` or `permission_denied`. */
const TELLING: ReadonlySet<Reason> = new Set([
  "CALLER_REJECTED",
  "CREDENTIALS_AMBIGUOUS",
  "CREDENTIAL_HEADER_ALIAS",
  "CREDENTIAL_MALFORMED",
  "KEY_CHECK_BUSY",
  "LOGIN_THROTTLED",
  "RATE_LIMITED",
]);

/** A call, as far as the record of refusals is concerned. */
export interface RefusedCall {
  /** Such as `latchkey.v1.TokenService/IssueToken`. */
  readonly method: string;
  /** Whether it asks about somebody else's credential. */
  readonly asks: boolean;
  /** Who calls, where that is known. */
  readonly actor: Decision | undefined;
  /** Of the socket's other end. */
  readonly address: string;
  readonly requestId: string;
}

/** What the record is told of an error. Undefined: it tells of nobody who tries. */
export function refusalOf(thrown: unknown, call: RefusedCall): Refusal | undefined {
  if (!(thrown instanceof AuthError && isTelling(thrown))) {
    return undefined;
  }
  const { method, asks, actor, address, requestId } = call;
  // Of a question, the subject is whoever it is about, and the actor whoever asks.
  const own = asks || actor === undefined ? undefined : subjectOf(actor);
  const { principal, organizationId, credentialId, clientAddress } = thrown.subject ?? own ?? {};
  const isOwnQuestion = actor?.organization === undefined || actor.organization.id === organizationId;
  return {
    action: actionOf(thrown, asks),
    method,
    reason: thrown.metadata["caller_reason"] ?? thrown.reason,
    principal,
    organizationId,
    credentialId,
    clientAddress,
    // Nobody learns here which service of another organization has asked about them, nor from where.
    callerId: asks && isOwnQuestion ? actor?.principal.id : undefined,
    peerAddress: asks && !isOwnQuestion ? "" : address,
    requestId,
  };
}

function isTelling({ code, reason }: AuthError): boolean {
  return code === "unauthenticated" || code === "permission_denied" || TELLING.has(reason);
}

function actionOf({ reason }: AuthError, asks: boolean): string {
  if (reason.startsWith("LOGIN_")) {
    return "login.refused";
  }
  if (reason === "CALLER_REJECTED") {
    return "caller.refused";
  }
  return asks ? "credential.refused" : "call.refused";
}
