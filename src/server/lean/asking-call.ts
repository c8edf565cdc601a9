import { Code, ConnectError } from "@connectrpc/connect";
import type { Logger } from "pino";
import type { RefusalRecorder } from "../../audit/refusal-recorder.ts";
import type { Actor } from "../../authenticate/actor.ts";
import type { PermissionRule } from "../../authenticate/authorize.ts";
import type { HeaderField } from "../../credentials/credential-headers.ts";
import { AuthError } from "../../errors.ts";
import { type RunningCall, runCall } from "../../storage/running-call.ts";
import { type AccessParts, admitCaller } from "../access-interceptor.ts";
import { noteRefusal } from "../audit-interceptor.ts";
import { headerFieldsOf } from "../call-context.ts";
import { logCall, logUnread } from "../call-log-interceptor.ts";
import { faultOf, translate } from "../error-interceptor.ts";
import { requestIdOf } from "../request-id.ts";
import { ENVELOPE_BYTES } from "./answer-bytes.ts";
import type { CallHead } from "./call-head.ts";
import { errorBytes } from "./error-bytes.ts";
import { answerWith, type LeanAnswer, refuseUnread, refuseWith, type Written } from "./lean-answer.ts";
import type { LeanCall, RequestHead } from "./lean-call.ts";

/** What all calls of one method have in common. */
export interface AskingContext extends Pick<AccessParts, "authenticate" | "callers"> {
  /** Such as `latchkey.v1.AuthenticationService/Authenticate`. */
  readonly methodName: string;
  readonly permission: PermissionRule;
  /** Of one message. */
  readonly mostBytes: number;
  /** What else answers depend on. Empty: nothing. */
  readonly vary: string;
  /** Up to where changes are taken into account. */
  readonly revision: () => string;
  readonly refusals: Pick<RefusalRecorder, "note">;
  readonly log: Logger;
}

/** One call of a method that asks about credentials. */
export abstract class AskingCall<Asked, Outcome> implements LeanCall, RunningCall {
  protected readonly context: AskingContext;
  protected readonly head: CallHead;
  protected revision = "";
  protected actor: Actor | undefined;
  readonly #headers: readonly HeaderField[];
  readonly #peerAddress: string;
  readonly #requestId: string;
  readonly #started = performance.now();
  /** What went wrong at a part of the answer, on our side. */
  protected fault: unknown;
  #givenUp: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(context: AskingContext, head: CallHead, { rawHeaders, peerAddress }: RequestHead) {
    this.context = context;
    this.head = head;
    this.#headers = headerFieldsOf(rawHeaders);
    this.#peerAddress = peerAddress;
    this.#requestId = requestIdOf(this.#headers);
  }

  /** What it asks. Undefined: that is not sure, or is wrong. */
  protected abstract read(message: Buffer): Asked | undefined;
  protected abstract ask(asked: Asked): Outcome | Promise<Outcome>;
  /** The message of its answer. */
  protected abstract message(outcome: Outcome): Written;
  /** Of whom the log tells. */
  protected abstract subject(outcome: Outcome): string | undefined;

  get mostBytes(): number {
    return this.context.mostBytes + (this.head.format === "grpc" ? ENVELOPE_BYTES : 0);
  }

  untilDeadline(late: (answer: LeanAnswer | Promise<LeanAnswer>) => void): void {
    this.#atDeadline((error) => {
      const call = { requestId: this.#requestId, method: this.context.methodName, peer: this.#peerAddress };
      logUnread(this.context.log, { ...call, code: Code[error.code] ?? "" });
      late(refuseUnread(this.head, errorBytes(error), this.#requestId, this.context.vary));
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
    const message = this.head.format === "grpc" ? messageIn(body) : body;
    const asked = message && this.read(message);
    if (asked === undefined) {
      return undefined;
    }
    // Before it is decided: what is heard of meanwhile need not be taken into account.
    this.revision = this.context.revision();
    let decision: Outcome | Promise<Outcome>;
    try {
      decision = runCall(this, () => this.#decide(asked));
    } catch (thrown) {
      return this.#refuse(thrown);
    }
    return decision instanceof Promise ? this.#whenDecided(decision) : this.#allow(decision);
  }

  #decide(asked: Asked): Outcome | Promise<Outcome> {
    if (this.context.callers === "any") {
      return this.#ask(asked, undefined);
    }
    const actor = admitCaller(this.context, this.context.permission, this.#headers, this.#peerAddress);
    return actor instanceof Promise
      ? actor.then((known) => this.#ask(asked, known))
      : this.#ask(asked, actor);
  }

  #ask(asked: Asked, actor: Actor | undefined): Outcome | Promise<Outcome> {
    this.actor = actor;
    return this.ask(asked);
  }

  async #whenDecided(deciding: Promise<Outcome>): Promise<LeanAnswer> {
    const { signal } = this;
    this.#atDeadline((error) => this.#givenUp?.abort(error));
    let decision: Outcome;
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
    const { timeoutMs } = this.head;
    if (timeoutMs !== undefined) {
      const left = timeoutMs - (performance.now() - this.#started);
      this.#timer = setTimeout(() => late(deadlineExceeded()), Math.max(left, 0));
    }
  }

  #allow(outcome: Outcome): LeanAnswer | Promise<LeanAnswer> {
    this.#log("Ok", undefined, this.subject(outcome), this.fault);
    return answerWith(this.head, this.message(outcome), this.#requestId, this.context.vary);
  }

  #refuse(thrown: unknown): LeanAnswer | Promise<LeanAnswer> {
    this.noteRefusal(thrown);
    const error = translate(thrown);
    const bytes = errorBytes(error);
    const reason = error instanceof AuthError ? error.reason : undefined;
    this.#log(Code[bytes.code] ?? "", reason, undefined, faultOf(error));
    return refuseWith(this.head, bytes, this.#requestId, this.context.vary);
  }

  protected noteRefusal(thrown: unknown): void {
    noteRefusal(this.context.refusals, thrown, {
      method: this.context.methodName,
      asks: true,
      actor: this.actor?.decision,
      address: this.#peerAddress,
      requestId: this.#requestId,
    });
  }

  #log(code: string, reason: string | undefined, subject: string | undefined, fault: unknown): void {
    const { log } = this.context;
    // Before anything is put together: a line for each call would cost more than its decision.
    if (fault === undefined && !log.isLevelEnabled("debug")) {
      return;
    }
    const call = {
      requestId: this.#requestId,
      method: this.context.methodName,
      code,
      reason,
      subject,
      principal: this.actor?.decision.principal.id,
      peer: this.#peerAddress,
    };
    logCall(log, "debug", call, this.#started, fault);
  }
}

/** As Connect says it. */
function deadlineExceeded(): ConnectError {
  return new ConnectError("the operation timed out", Code.DeadlineExceeded);
}

/** The one message of a call of gRPC, not compressed. Undefined: it is something else. */
function messageIn(body: Buffer): Buffer | undefined {
  const isOne =
    body.length >= ENVELOPE_BYTES && body[0] === 0 && body.readUInt32BE(1) === body.length - ENVELOPE_BYTES;
  return isOne ? body.subarray(ENVELOPE_BYTES) : undefined;
}
