import type { Interceptor } from "@connectrpc/connect";
import type { RefusalRecorder } from "../audit/refusal-recorder.ts";
import type { Actor } from "../authenticate/actor.ts";
import { subjectOf } from "../authenticate/authenticate.ts";
import { runFrom } from "../changes/call-origin.ts";
import { AuthError, type Reason } from "../errors.ts";
import { AuthenticationService } from "../gen/latchkey/v1/authentication_pb.ts";
import { actorKey, peerAddressKey, requestIdKey } from "./call-context.ts";

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

/** A call that may be refused. */
export interface AuditedCall {
  readonly service: string;
  readonly method: string;
  /** Whether it asks about somebody else's credential. */
  readonly asked: boolean;
  /** Who calls, as far as it is known. */
  readonly actor: Actor | undefined;
  /** Of the socket's other end. */
  readonly address: string;
  readonly requestId: string;
}

/** Tells the record where each call comes from, and of those that are refused. */
export function createAuditInterceptor(refusals: Pick<RefusalRecorder, "note">): Interceptor {
  return (next) => async (request) => {
    const values = request.contextValues;
    const address = values.get(peerAddressKey);
    const requestId = values.get(requestIdKey);
    try {
      return await runFrom({ address, requestId }, () => next(request));
    } catch (thrown) {
      noteRefusal(refusals, thrown, {
        service: request.service.typeName,
        method: request.method.name,
        asked: request.method === AuthenticationService.method.authenticate,
        actor: values.get(actorKey),
        address,
        requestId,
      });
      throw thrown;
    }
  };
}

/** Tells the record of what a call was answered with, where that is a refusal which says something. */
export function noteRefusal(
  refusals: Pick<RefusalRecorder, "note">,
  thrown: unknown,
  { service, method, asked, actor: caller, address, requestId }: AuditedCall,
): void {
  if (!(thrown instanceof AuthError) || !isTelling(thrown)) {
    return;
  }
  const actor = caller?.decision;
  // Of a question, the subject is whoever it is about, and the actor whoever asks.
  const own = asked || actor === undefined ? undefined : subjectOf(actor);
  const { principal, organizationId, credentialId, clientAddress } = thrown.subject ?? own ?? {};
  const isOwnQuestion = actor?.organization === undefined || actor.organization.id === organizationId;
  refusals.note({
    action: actionOf(thrown, asked),
    method: `${service}/${method}`,
    reason: thrown.metadata["caller_reason"] ?? thrown.reason,
    principal,
    organizationId,
    credentialId,
    clientAddress,
    // Nobody learns here which service of another organization has asked about them, nor from where.
    callerId: asked && isOwnQuestion ? actor?.principal.id : undefined,
    peerAddress: asked && !isOwnQuestion ? "" : address,
    requestId,
  });
}

function isTelling({ code, reason }: AuthError): boolean {
  return code === "unauthenticated" || code === "permission_denied" || TELLING.has(reason);
}

function actionOf({ reason }: AuthError, asked: boolean): string {
  if (reason.startsWith("LOGIN_")) {
    return "login.refused";
  }
  if (reason === "CALLER_REJECTED") {
    return "caller.refused";
  }
  return asked ? "credential.refused" : "call.refused";
}
