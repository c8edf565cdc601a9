import type { Decision } from "../authenticate/decision.ts";

/** Who makes a key, or is handed a secret by a rotation: what they made ends when they are revoked. */
export interface Maker {
  readonly creatorId: string;
  /**
   * The creator, the service that acted on their behalf, and whoever the secret that was presented had come from:
   * any of them may know what comes of it.
   */
  readonly makerIds: string[];
}

export function makerOf({
  principal,
  parentKey,
  secretMakers,
}: Pick<Decision, "principal" | "parentKey" | "secretMakers">): Maker {
  const hands = [...secretMakers, ...(parentKey === undefined ? [] : [parentKey.id]), principal.id];
  return { creatorId: principal.id, makerIds: [...new Set(hands)] };
}
