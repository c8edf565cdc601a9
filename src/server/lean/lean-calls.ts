import type { DescMethod } from "@bufbuild/protobuf";
import { createAuthenticateAll } from "../../authenticate/authenticate-all.ts";
import type { Tag } from "../../changes/mutate.ts";
import { AuthenticationService } from "../../gen/latchkey/v1/authentication_pb.ts";
import { type AccessParts, admitCaller } from "../access-interceptor.ts";
import { accessRuleOf } from "../access-rules.ts";
import { headerFieldsOf } from "../call-context.ts";
import { AnswerWriter } from "./answer-bytes.ts";
import type { AskingContext } from "./asking-call.ts";
import { AuthenticateCall } from "./authenticate-call.ts";
import { BatchCall } from "./batch-call.ts";
import { readCallHead } from "./call-head.ts";
import type { LeanCalls, RequestHead } from "./lean-call.ts";

export interface LeanParts
  extends Pick<AccessParts, "authenticate" | "peek" | "callers">,
    Pick<AskingContext, "revision" | "refusals" | "log"> {
  readonly cacheTag: (tag: Tag) => string;
  /** The origins whose pages may call from a browser. */
  readonly corsOrigins: ReadonlySet<string>;
  /** Of one message, in bytes. */
  readonly mostMessageBytes: number;
  /** Of one with many questions, of whoever may ask. */
  readonly mostLargeMessageBytes: number;
}

/**
 * Serves `Authenticate`, which is asked for each request of a deployment, and `BatchAuthenticate` in binary, without
 * what serves all methods alike. It answers as that does (docs/adr/0013), and leaves to it what it is not sure to
 * answer alike.
 */
export function createLeanCalls(parts: LeanParts): LeanCalls {
  const { authenticate, batchAuthenticate } = AuthenticationService.method;
  const shared = {
    ...parts,
    vary: parts.corsOrigins.size === 0 ? "" : "Origin",
    writer: new AnswerWriter(parts.cacheTag),
  };
  const single = { ...shared, ...methodOf(authenticate), mostBytes: parts.mostMessageBytes };
  const batch = {
    ...shared,
    ...methodOf(batchAuthenticate),
    authenticateAll: createAuthenticateAll(parts.authenticate),
    // Strangers make no more objects by this method than by others.
    mostBytes: parts.callers === "any" ? parts.mostMessageBytes : parts.mostLargeMessageBytes,
  };
  const singlePath = `/${single.methodName}`;
  const batchPath = `/${batch.methodName}`;

  /** Whether who calls may send a large message, as far as that is known without asking anybody. */
  const isAdmitted = ({ rawHeaders, peerAddress }: RequestHead): boolean => {
    if (parts.callers === "any") {
      return true;
    }
    const peeking = { ...batch, authenticate: parts.peek };
    try {
      const actor = admitCaller(peeking, batch.permission, headerFieldsOf(rawHeaders), peerAddress);
      if (!(actor instanceof Promise)) {
        return true;
      }
      actor.catch(() => {});
    } catch {
      // The long way tells them.
    }
    return false;
  };

  return {
    serves: (method, path) => (path === singlePath || path === batchPath) && method === "POST",
    begin(path, request) {
      const head = readCallHead(request.isHttp2, request.rawHeaders);
      if (head === undefined) {
        return undefined;
      }
      if (path === singlePath) {
        return new AuthenticateCall(single, head, request);
      }
      return head.format !== "json" && isAdmitted(request) ? new BatchCall(batch, head, request) : undefined;
    },
  };
}

function methodOf(method: DescMethod): Pick<AskingContext, "methodName" | "permission"> {
  const methodName = `${method.parent.typeName}/${method.name}`;
  const rule = accessRuleOf(method);
  if (rule.kind !== "permission" || !rule.caller) {
    throw new Error(`${methodName} has another access rule than is served here`);
  }
  return { methodName, permission: rule.permission };
}
