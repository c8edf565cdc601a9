import type { Disproof, Proof } from "../authenticate/proof.ts";
import type { Trace } from "../authenticate/trace.ts";
import type { PresentedCredential } from "./credential-headers.ts";

/** One kind of credential. */
export interface Scheme {
  /**
   * Whether a credential is for this scheme, as far as its form tells. Nothing is asked for it.
   *
   * @throws AuthError where it is, and by its form alone is nobody's.
   */
  screen(presented: PresentedCredential): boolean;
  /**
   * - not of this kind: undefined
   * - of this kind, and nobody's: rejects with an AuthError that says why; or answers so, where the database had to
   *   be asked and that may be remembered for a moment
   * - somebody's: what is true of it, whether it is good or not
   *
   * Any other rejection is a fault of ours, never a verdict.
   */
  prove(presented: PresentedCredential, context: ProofContext): Promise<Proof | Disproof | undefined>;
}

/** What a proof may depend on besides the credential. */
export interface ProofContext {
  /** The organization that the request names, by id; empty for none. */
  readonly organizationId: string;
  /** The audience asked for; empty for the default. */
  readonly audience: string;
  /** Told of the steps on the way. */
  readonly trace: Pick<Trace, "check">;
}
