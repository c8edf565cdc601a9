import type { RefusedSubject } from "../errors.ts";
import { type Identity, subjectOf } from "./decision.ts";

/** A secret of a key that whoever asks has proved to hold. */
export interface HeldSecret {
  readonly type: "api_key" | "service_key";
  readonly keyId: string;
  /** The public part of the secret, by which it is told from the key's other one. */
  readonly lookupId: string;
  readonly displayPrefix: string;
  /** What is left to do once it was used. It neither throws nor makes the call wait. */
  readonly onUse?: () => void;
}

/** Follows one decision on its way. */
export interface Trace {
  /**
   * Says what is looked at next; everything before it was found good.
   *
   * @param detail for people, without any secret; asked for only where somebody wants to know.
   */
  check(step: string, detail: () => string): void;
  /** Says that the secret of a key was presented, whatever else becomes of the decision. */
  holds(secret: HeldSecret): void;
  /** Says whom the credential stands for, once that is proved: for the record, where it is refused all the same. */
  names(subject: RefusedSubject | Identity): void;
}

/** One thing that a decision depends on. */
export interface Step {
  readonly name: string;
  readonly detail: string;
}

/** Remembers which secret was presented, and where it is asked to, each step. */
export class DecisionTrace implements Trace {
  readonly steps: Step[] | undefined;
  secret: HeldSecret | undefined;
  #subject: RefusedSubject | Identity | undefined;

  /** @param keepsSteps the steps are for people: to make an answer of them is more work than to decide. */
  constructor(keepsSteps: boolean) {
    this.steps = keepsSteps ? [] : undefined;
  }

  check(name: string, detail: () => string): void {
    this.steps?.push({ name, detail: detail() });
  }

  holds(secret: HeldSecret): void {
    this.secret = secret;
  }

  names(subject: RefusedSubject | Identity): void {
    this.#subject = subject;
  }

  get subject(): RefusedSubject | undefined {
    const subject = this.#subject;
    return subject !== undefined && "grants" in subject ? subjectOf(subject) : subject;
  }
}
