import type { Decision } from "../authenticate/decision.ts";

/** Who makes a key, or is handed a secret by a rotation: what they made ends when they are revoked. */
export interface Maker {
  readonly creatorId: string;
  /** The creator, and whoever the secret that they presented had come from: any of them may know what comes of it. */
  readonly makerIds: string[];
}

export function makerOf({ principal, secretMakers }: Pick<Decision, "principal" | "secretMakers">): Maker {
  return { creatorId: principal.id, makerIds: [...new Set([...secretMakers, principal.id])] };
}
