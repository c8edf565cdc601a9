import type { Identity } from "../authenticate/decision.ts";
import type { Trace } from "../authenticate/trace.ts";
import type { PresentedCredential } from "./credential-headers.ts";

/** One kind of credential. */
export interface Scheme {
  /**
   * - not of this kind: undefined
   * - of this kind, but bad: rejects with an AuthError that says why
   * - good: who it stands for
   *
   * Any other rejection is a fault of ours, never a verdict.
   */
  identify(presented: PresentedCredential, context: SchemeContext): Promise<Identity | undefined>;
}

export interface SchemeContext {
  /** The organization that the request names, by id; empty for none. */
  readonly organizationId: string;
  /** The organization that whoever asks is bound to; empty for none. */
  readonly callerOrganizationId: string;
  /** The audience asked for; empty for the default. */
  readonly audience: string;
  readonly trace: Trace;
}
