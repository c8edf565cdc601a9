import type { DescMessage, DescMethod, Message } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { ContextValues, Interceptor } from "@connectrpc/connect";
import type { Actor } from "../authenticate/actor.ts";
import type { Authenticate } from "../authenticate/authenticate.ts";
import { authorize, type PermissionRule, type Subject } from "../authenticate/authorize.ts";
import { type Decision, type Question, subjectOf as subjectOfDecision } from "../authenticate/decision.ts";
import type { HeaderField } from "../credentials/credential-headers.ts";
import { AuthError } from "../errors.ts";
import { type AccessRule, accessRuleOf } from "./access-rules.ts";
import { actorKey, peerAddressKey, rawHeadersKey, readmitKey } from "./call-context.ts";

export interface AccessParts {
  readonly authenticate: Authenticate;
  /** As `authenticate`, where it is no use of the credential: neither counted nor limited. */
  readonly peek: Authenticate;
  readonly organizationExists: (id: string, orDeleted: boolean) => Promise<boolean>;
  /** `any`: whoever reaches the port may ask about a credential. */
  readonly callers: "any" | "authenticated";
}

const NOBODY: Subject = { organizationId: "", namesOrganization: false, id: "" };

/** Enforces every method's access rule, before its handler sees anything. */
export function createAccessInterceptor(parts: AccessParts): Interceptor {
  const rules = new Map<DescMethod, AccessRule>();
  const ruleOf = (method: DescMethod) => {
    const rule = rules.get(method) ?? accessRuleOf(method);
    rules.set(method, rule);
    return rule;
  };

  return (next) => async (request) => {
    const rule = ruleOf(request.method);
    const asksNothing =
      rule.kind === "public" ||
      rule.kind === "possession" ||
      (rule.kind === "permission" && rule.caller && parts.callers === "any") ||
      (!request.stream && carriesProof(rule, request.method.input, request.message));
    if (!asksNothing) {
      const subject = request.stream ? NOBODY : subjectOf(rule, request.method.input, request.message);
      const values = request.contextValues;
      values.set(actorKey, await admit(parts, rule, values, subject));
      if (request.stream) {
        // By the same rule. To go on reading is no use of a key.
        const unused = { ...parts, authenticate: parts.peek };
        values.set(readmitKey, async () => {
          await admit(unused, rule, values, subject);
        });
      }
    }
    return await next(request);
  };
}

/** Whether the message has a credential in a field where that is all the proof that its method asks for. */
function carriesProof(rule: AccessRule, schema: DescMessage, message: Message): boolean {
  return rule.kind === "permission" && isAnySet(rule.possessionFields, schema, message);
}

function isAnySet(names: readonly string[], schema: DescMessage, message: Message): boolean {
  if (names.length === 0) {
    return false;
  }
  const view = reflect(schema, message);
  return schema.fields.some((field) => names.includes(field.name) && view.isSet(field));
}

async function admit(
  parts: AccessParts,
  rule: AccessRule,
  values: ContextValues,
  subject: Subject,
): Promise<Actor> {
  if (rule.kind !== "permission") {
    const decision = await decisionOf(parts, values);
    return { decision, organizationId: decision.organization?.id };
  }
  if (rule.caller) {
    return await admitCaller(parts, rule.permission, values.get(rawHeadersKey), values.get(peerAddressKey));
  }
  const decision = await decisionOf(parts, values);
  try {
    const actor = authorize(rule.permission, decision, subject);
    const { organizationId } = actor;
    const isForeign = organizationId !== undefined && organizationId !== decision.organization?.id;
    if (isForeign && !(await parts.organizationExists(organizationId, rule.deletedOrganizations))) {
      throw new AuthError("ORGANIZATION_UNKNOWN");
    }
    return actor;
  } catch (error) {
    throw recordedAs(decision, error);
  }
}

/** What is refused to somebody who is known is recorded as theirs. */
function recordedAs(decision: Decision, thrown: unknown): unknown {
  if (thrown instanceof AuthError) {
    thrown.subject ??= subjectOfDecision(decision);
  }
  return thrown;
}

/**
 * Lets in a service that asks about somebody else's credential, at once where the decision about it comes at once.
 * A caller's own faults are told apart from those of the credential that they ask about.
 *
 * @param headers of the call itself.
 * @throws AuthError, or rejects with one: CALLER_REJECTED, UNAVAILABLE
 */
export function admitCaller(
  parts: Pick<AccessParts, "authenticate">,
  rule: PermissionRule,
  headers: readonly HeaderField[],
  clientAddress: string,
): Actor | Promise<Actor> {
  const authorized = (decision: Decision) => {
    try {
      // What the message names is about its subject, not about the caller.
      return authorize(rule, decision, NOBODY);
    } catch (error) {
      throw recordedAs(decision, error);
    }
  };
  try {
    const decision = parts.authenticate(ownQuestion(headers, clientAddress));
    return decision instanceof Promise
      ? decision.then(authorized).catch((error: unknown) => {
          throw rejectedCaller(error);
        })
      : authorized(decision);
  } catch (error) {
    throw rejectedCaller(error);
  }
}

function rejectedCaller(thrown: unknown): unknown {
  if (!(thrown instanceof AuthError) || thrown.reason === "UNAVAILABLE") {
    return thrown;
  }
  const { reason, retryAfterMillis } = thrown;
  const rejected = new AuthError("CALLER_REJECTED", {
    metadata: { caller_reason: reason },
    ...(retryAfterMillis !== undefined && { retryAfterMillis }),
  });
  rejected.subject = thrown.subject;
  return rejected;
}

async function decisionOf(parts: AccessParts, values: ContextValues): Promise<Decision> {
  return await parts.authenticate(ownQuestion(values.get(rawHeadersKey), values.get(peerAddressKey)));
}

/** Who calls? */
function ownQuestion(headers: readonly HeaderField[], clientAddress: string): Question {
  return {
    headers,
    clientAddress,
    requiredPermissions: [],
    anyPermissions: [],
    organizationId: "",
    callerOrganizationId: "",
    audience: "",
    minRevision: "",
  };
}

function subjectOf(rule: AccessRule, schema: DescMessage, message: Message): Subject {
  const view = reflect(schema, message);
  const textOf = (name: string) => {
    const field = schema.fields.find((candidate) => candidate.name === name);
    const value = field && view.get(field);
    return typeof value === "string" ? value : undefined;
  };
  const organizationId = textOf("organization_id");
  return {
    organizationId: organizationId ?? "",
    namesOrganization: organizationId !== undefined,
    id: textOf("id") ?? textOf("user_id") ?? "",
    mayBeOwn: rule.kind === "permission" && isAnySet(rule.ownFields, schema, message),
  };
}
