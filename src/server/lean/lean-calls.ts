import { Code, ConnectError } from "@connectrpc/connect";
import type { Logger } from "pino";
import type { RefusalRecorder } from "../../audit/refusal-recorder.ts";
import type { Actor } from "../../authenticate/actor.ts";
import { questionOf } from "../../authenticate/authentication-service.ts";
import type { PermissionRule } from "../../authenticate/authorize.ts";
import type { Decision } from "../../authenticate/decision.ts";
import type { Tag } from "../../changes/mutate.ts";
import type { HeaderField } from "../../credentials/credential-headers.ts";
import { AuthError } from "../../errors.ts";
import { AuthenticationService } from "../../gen/latchkey/v1/authentication_pb.ts";
import { type RunningCall, runCall } from "../../storage/running-call.ts";
import { type AccessParts, admitCaller } from "../access-interceptor.ts";
import { accessRuleOf } from "../access-rules.ts";
import { noteRefusal } from "../audit-interceptor.ts";
import { headerFieldsOf } from "../call-context.ts";
import { logCall, logUnread } from "../call-log-interceptor.ts";
import { faultOf, translate } from "../error-interceptor.ts";
import { requestIdOf } from "../request-id.ts";
import { AnswerWriter, ENVELOPE_BYTES } from "./answer-bytes.ts";
import type { AskedQuestion } from "./asked-question.ts";
import { type CallHead, readCallHead } from "./call-head.ts";
import { errorBytes } from "./error-bytes.ts";
import { answerWith, type LeanAnswer, refuseUnread, refuseWith } from "./lean-answer.ts";
import type { LeanCall, LeanCalls, RequestHead } from "./lean-call.ts";
import { readQuestion } from "./question-binary.ts";
import { readQuestionJson } from "./question-json.ts";

export interface LeanParts extends Pick<AccessParts, "authenticate" | "callers"> {
  /** Up to where changes are taken into account. */
  readonly revision: () => string;
  readonly cacheTag: (tag: Tag) => string;
  readonly refusals: Pick<RefusalRecorder, "note">;
  /** The origins whose pages may call from a browser. */
  readonly corsOrigins: ReadonlySet<string>;
  /** Of one message, in bytes. */
  readonly mostMessageBytes: number;
  readonly log: Logger;
}

const METHOD = AuthenticationService.method.authenticate;
const SERVICE_NAME = METHOD.parent.typeName;
const METHOD_NAME = `${SERVICE_NAME}/${METHOD.name}`;
const PATH = `/${METHOD_NAME}`;

/**
 * Serves `Authenticate`, which is asked for each request of a deployment, without what serves all methods alike. It
 * answers as that does (docs/adr/0013), and leaves to it what it is not sure to answer alike.
 */
export function createLeanCalls(parts: LeanParts): LeanCalls {
  const rule = accessRuleOf(METHOD);
  if (rule.kind !== "permission" || !rule.caller) {
    throw new Error(`${METHOD_NAME} has another access rule than is served here`);
  }
  const { permission } = rule;
  const vary = parts.corsOrigins.size === 0 ? "" : "Origin";
  const writer = new AnswerWriter(parts.cacheTag);
  return {
    serves: (method, path) => path === PATH && method === "POST",
    begin(request) {
      const head = readCallHead(request.isHttp2, request.rawHeaders);
      return head && new AuthenticateCall(parts, permission, writer, vary, head, request);
    },
  };
}

/** One call of `Authenticate`. */
class AuthenticateCall implements LeanCall, RunningCall {
  readonly #parts: LeanParts;
  readonly #permission: PermissionRule;
  readonly #writer: AnswerWriter;
  readonly #vary: string;
  readonly #head: CallHead;
  readonly #headers: readonly HeaderField[];
  readonly #peerAddress: string;
  readonly #requestId: string;
  readonly #started = performance.now();
  #givenUp: AbortController | undefined;
  #actor: Actor | undefined;
  #revision = "";
  #timer: NodeJS.Timeout | undefined;

  constructor(
    parts: LeanParts,
    permission: PermissionRule,
    writer: AnswerWriter,
    vary: string,
    head: CallHead,
    { rawHeaders, peerAddress }: RequestHead,
  ) {
    this.#parts = parts;
    this.#permission = permission;
    this.#writer = writer;
    this.#vary = vary;
    this.#head = head;
    this.#headers = headerFieldsOf(rawHeaders);
    this.#peerAddress = peerAddress;
    this.#requestId = requestIdOf(this.#headers);
  }

  get mostBytes(): number {
    return this.#parts.mostMessageBytes + (this.#head.format === "grpc" ? ENVELOPE_BYTES : 0);
  }

  untilDeadline(late: (answer: LeanAnswer | Promise<LeanAnswer>) => void): void {
    this.#atDeadline((error) => {
      const call = { requestId: this.#requestId, method: METHOD_NAME, peer: this.#peerAddress };
      logUnread(this.#parts.log, { ...call, code: Code[error.code] ?? "" });
      late(refuseUnread(this.#head, errorBytes(error), this.#requestId, this.#vary));
    });
  }

  letGo(): void {
    clearTimeout(this.#timer);
  }

  giveUp(): void {
    this.letGo();
    this.#givenUp?.abort();
  }

  get origin() {
    return { address: this.#peerAddress, requestId: this.#requestId };
  }

  /** Made when it is asked for: what is decided at once is never given up. */
  get signal(): AbortSignal {
    this.#givenUp ??= new AbortController();
    return this.#givenUp.signal;
  }

  answer(body: Buffer): LeanAnswer | Promise<LeanAnswer> | undefined {
    this.letGo();
    const asked = this.#read(body);
    if (asked === undefined) {
      return undefined;
    }
    // Before it is decided: what is heard of meanwhile need not be taken into account.
    this.#revision = this.#parts.revision();
    let decision: Decision | Promise<Decision>;
    try {
      decision = runCall(this, () => this.#decide(asked));
    } catch (thrown) {
      return this.#refuse(thrown);
    }
    return decision instanceof Promise ? this.#whenDecided(decision) : this.#allow(decision);
  }

  #read(body: Buffer): AskedQuestion | undefined {
    switch (this.#head.format) {
      case "json":
        return readQuestionJson(body);
      case "proto":
        return readQuestion(body);
      case "grpc":
        // One message, not compressed.
        return body.length >= ENVELOPE_BYTES &&
          body[0] === 0 &&
          body.readUInt32BE(1) === body.length - ENVELOPE_BYTES
          ? readQuestion(body.subarray(ENVELOPE_BYTES))
          : undefined;
    }
  }

  #decide(asked: AskedQuestion): Decision | Promise<Decision> {
    if (this.#parts.callers === "any") {
      return this.#ask(asked, undefined);
    }
    const actor = admitCaller(this.#parts, this.#permission, this.#headers, this.#peerAddress);
    return actor instanceof Promise
      ? actor.then((known) => this.#ask(asked, known))
      : this.#ask(asked, actor);
  }

  #ask(asked: AskedQuestion, actor: Actor | undefined): Decision | Promise<Decision> {
    this.#actor = actor;
    return this.#parts.authenticate(questionOf(asked, actor));
  }

  async #whenDecided(deciding: Promise<Decision>): Promise<LeanAnswer> {
    const { signal } = this;
    this.#atDeadline((error) => this.#givenUp?.abort(error));
    let decision: Decision;
    try {
      decision = await deciding;
    } catch (thrown) {
      return await this.#refuse(signal.aborted ? ConnectError.from(signal.reason, Code.Canceled) : thrown);
    } finally {
      clearTimeout(this.#timer);
    }
    return await this.#allow(decision);
  }

  #atDeadline(late: (error: ConnectError) => void): void {
    const { timeoutMs } = this.#head;
    if (timeoutMs !== undefined) {
      const left = timeoutMs - (performance.now() - this.#started);
      this.#timer = setTimeout(() => late(deadlineExceeded()), Math.max(left, 0));
    }
  }

  #allow(decision: Decision): LeanAnswer | Promise<LeanAnswer> {
    this.#log("Ok", undefined, decision.principal.id, undefined);
    const { format } = this.#head;
    const message =
      format === "json"
        ? this.#writer.json(decision, this.#revision)
        : this.#writer.binary(decision, this.#revision, format === "grpc" ? ENVELOPE_BYTES : 0);
    return answerWith(this.#head, message, this.#requestId, this.#vary);
  }

  #refuse(thrown: unknown): LeanAnswer | Promise<LeanAnswer> {
    noteRefusal(this.#parts.refusals, thrown, {
      method: METHOD_NAME,
      asks: true,
      actor: this.#actor?.decision,
      address: this.#peerAddress,
      requestId: this.#requestId,
    });
    const error = translate(thrown);
    const bytes = errorBytes(error);
    const reason = error instanceof AuthError ? error.reason : undefined;
    this.#log(Code[bytes.code] ?? "", reason, undefined, faultOf(error));
    return refuseWith(this.#head, bytes, this.#requestId, this.#vary);
  }

  #log(code: string, reason: string | undefined, subject: string | undefined, fault: unknown): void {
    const { log } = this.#parts;
    // Before anything is put together: a line for each call would cost more than its decision.
    if (fault === undefined && !log.isLevelEnabled("debug")) {
      return;
    }
    const call = {
      requestId: this.#requestId,
      method: METHOD_NAME,
      code,
      reason,
      subject,
      principal: this.#actor?.decision.principal.id,
      peer: this.#peerAddress,
    };
    logCall(log, "debug", call, this.#started, fault);
  }
}

/** As Connect says it. */
function deadlineExceeded(): ConnectError {
  return new ConnectError("the operation timed out", Code.DeadlineExceeded);
}
