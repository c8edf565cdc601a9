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

/** @throws AuthError for what is nobody's credential by its form alone. */
export type Screen = (credential: PresentedCredential) => void;

/** Asks nothing and nobody. */
export function createScreen(schemes: readonly Scheme[]): Screen {
  return (credential) => {
    // The first that it is for has the say, as in prove().
    schemes.some((scheme) => scheme.screen(credential));
  };
}

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
