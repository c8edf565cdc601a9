import type { Interceptor } from "@connectrpc/connect";
import type { RefusalRecorder } from "../audit/refusal-recorder.ts";
import { subjectOf } from "../authenticate/decision.ts";
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

/** Tells the record where each call comes from, and of those that are refused. */
export function createAuditInterceptor(refusals: Pick<RefusalRecorder, "note">): Interceptor {
  return (next) => async (request) => {
    const values = request.contextValues;
    const address = values.get(peerAddressKey);
    const requestId = values.get(requestIdKey);
    try {
      return await runFrom({ address, requestId }, () => next(request));
    } catch (thrown) {
      if (thrown instanceof AuthError && isTelling(thrown)) {
        const actor = values.get(actorKey)?.decision;
        const asked = request.method === AuthenticationService.method.authenticate;
        // Of a question, the subject is whoever it is about, and the actor whoever asks.
        const own = asked || actor === undefined ? undefined : subjectOf(actor);
        const { principal, organizationId, credentialId, clientAddress } = thrown.subject ?? own ?? {};
        const isOwnQuestion = actor?.organization === undefined || actor.organization.id === organizationId;
        refusals.note({
          action: actionOf(thrown, asked),
          method: `${request.service.typeName}/${request.method.name}`,
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
      throw thrown;
    }
  };
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
