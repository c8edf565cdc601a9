import type { DescMethodUnary } from "@bufbuild/protobuf";
import type { ConnectRouter, HandlerContext, MethodImpl, StreamRequest } from "@connectrpc/connect";
import type { Logger } from "pino";
import type { RefusalRecorder } from "../audit/refusal-recorder.ts";
import { type AccessParts, createAccessInterceptor } from "./access-interceptor.ts";
import { accessRuleOf } from "./access-rules.ts";
import { createAuditInterceptor } from "./audit-interceptor.ts";
import { createCallLogInterceptor } from "./call-log-interceptor.ts";
import { createErrorInterceptor } from "./error-interceptor.ts";
import { wireCallKey } from "./wire-call.ts";

/** One message, as it is sent and as it is decompressed, of a method that takes many things at once. */
export const MOST_LARGE_MESSAGE_BYTES = 4 * 1024 * 1024;

/**
 * Serves a method anew, so that it takes larger messages than others: from whoever may call it. Where that is
 * anybody, it is left as it is.
 */
export type ServeLarge = <Method extends DescMethodUnary>(
  router: ConnectRouter,
  method: Method,
  implementation: MethodImpl<Method>,
) => void;

/**
 * A few KiB that are compressed well can stand for millions of objects. So that strangers cannot have those made,
 * the credential is looked at before the message is read; the call's own rule is enforced after it, as always.
 */
export function createServeLarge(
  parts: AccessParts & {
    readonly refusals: Pick<RefusalRecorder, "note">;
    readonly log: Logger;
  },
): ServeLarge {
  // It is not a use of the credential yet.
  const admit = createAccessInterceptor({ ...parts, authenticate: parts.peek });
  const log = createCallLogInterceptor(parts.log);
  const translate = createErrorInterceptor();
  const audit = createAuditInterceptor(parts.refusals);

  async function gate(context: HandlerContext): Promise<void> {
    const request = withoutMessage(context);
    try {
      await admit(async () => ({ ...request, trailer: new Headers() }))(request);
    } catch (thrown) {
      // As every other refusal is told and logged.
      await log(translate(audit(() => Promise.reject(thrown))))(request);
    }
    // What the gate refuses is answered by Connect; from here on, the transport has its say.
    const call = context.values.get(wireCallKey);
    if (call !== undefined) {
      call.signal = context.signal;
    }
  }

  return (router, method, implementation) => {
    const rule = accessRuleOf(method);
    if (parts.callers === "any" && rule.kind === "permission" && rule.caller) {
      return;
    }
    router.rpc(method, implementation, { readMaxBytes: MOST_LARGE_MESSAGE_BYTES, requestGate: gate });
  };
}

/** The call, as far as it is known before its message: like a stream of which nothing was read. */
function withoutMessage(context: HandlerContext): StreamRequest {
  return {
    stream: true,
    service: context.service,
    method: context.method as StreamRequest["method"],
    requestMethod: context.requestMethod,
    url: context.url,
    signal: context.signal,
    header: context.requestHeader,
    contextValues: context.values,
    message: nothing(),
  };
}

async function* nothing(): AsyncGenerator<never> {}
