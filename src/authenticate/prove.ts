import type { PresentedCredential } from "../credentials/credential-headers.ts";
import type { ProofContext, Scheme } from "../credentials/scheme.ts";
import type { Disproof, Proof } from "./proof.ts";

/**
 * What is true of a credential. It may answer at once, or throw: AuthErrors for what is nobody's credential,
 * anything else for a fault.
 */
export type Prove = (
  credential: PresentedCredential,
  context: ProofContext,
) => Proof | Disproof | Promise<Proof | Disproof>;

/** Asks the database, each time. */
export function createProve(schemes: readonly Scheme[]): Prove {
  return async (credential, context) => {
    for (const scheme of schemes) {
      const proof = await scheme.prove(credential, context);
      if (proof !== undefined) {
        return proof;
      }
    }
    throw new Error(`no scheme takes a credential of the kind ${credential.kind}`);
  };
}
