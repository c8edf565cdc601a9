import type { DescMethod } from "@bufbuild/protobuf";
import type { ContextValues, HandlerContext, Interceptor } from "@connectrpc/connect";
import type { RefusalRecorder } from "../audit/refusal-recorder.ts";
import { runFrom } from "../changes/call-origin.ts";
import { isFault } from "../error-facts.ts";
import type { AuthError } from "../errors.ts";
import { AuthenticationService } from "../gen/latchkey/v1/authentication_pb.ts";
import { actorKey, faultKey, peerAddressKey, requestIdKey } from "./call-context.ts";
import { type RefusedCall, refusalOf } from "./refusal-of.ts";

const { authenticate, batchAuthenticate } = AuthenticationService.method;
/** The methods that ask about somebody else's credential. */
const ASKING: ReadonlySet<DescMethod> = new Set<DescMethod>([authenticate, batchAuthenticate]);

/** Tells the record where each call comes from, and of those that are refused. */
export function createAuditInterceptor(refusals: Pick<RefusalRecorder, "note">): Interceptor {
  return (next) => async (request) => {
    const { contextValues: values, method } = request;
    const origin = { address: values.get(peerAddressKey), requestId: values.get(requestIdKey) };
    try {
      return await runFrom(origin, () => next(request));
    } catch (thrown) {
      noteRefusal(refusals, thrown, refusedCall(method, values));
      throw thrown;
    }
  };
}

/**
 * Makes what tells the record, and the log, of an error that is part of an answer: as of one that is the answer. The
 * log has one line for each call, so the first fault stands for all.
 */
export function createNoteError(
  refusals: Pick<RefusalRecorder, "note">,
): (context: HandlerContext, error: AuthError) => void {
  return ({ method, values }, error) => {
    if (isFault(error) && values.get(faultKey) === undefined) {
      values.set(faultKey, error.cause ?? error);
    }
    noteRefusal(refusals, error, refusedCall(method, values));
  };
}

/** Tells the record of what a call was answered with, where that is a refusal which says something. */
export function noteRefusal(
  refusals: Pick<RefusalRecorder, "note">,
  thrown: unknown,
  call: RefusedCall,
): void {
  const refusal = refusalOf(thrown, call);
  if (refusal !== undefined) {
    refusals.note(refusal);
  }
}

/** What the record is told of a call, beside why it is refused. */
export function refusedCall(method: DescMethod, values: ContextValues): RefusedCall {
  return {
    method: `${method.parent.typeName}/${method.name}`,
    asks: ASKING.has(method),
    actor: values.get(actorKey)?.decision,
    address: values.get(peerAddressKey),
    requestId: values.get(requestIdKey),
  };
}
