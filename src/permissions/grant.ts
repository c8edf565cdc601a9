import type { Decision } from "../authenticate/decision.ts";
import { AuthError } from "../errors.ts";
import { expandPattern, type Grantee, isPattern } from "./permission-pattern.ts";

/**
 * Checks that an actor may grant what is asked: nobody grants what they do not hold.
 *
 * @returns the names and patterns, sorted.
 * @throws AuthError PERMISSION_UNKNOWN where one stands for nothing, PERMISSION_NOT_HELD where one stands
 * for more than the actor holds.
 */
export function checkGrant(
  actor: Pick<Decision, "principal" | "permissions" | "catalogue">,
  asked: readonly string[],
  grantee: Grantee,
): string[] {
  const expanded = asked.map((text) => ({ text, names: expandPattern(text, grantee, actor.catalogue) }));
  const unknown = expanded.filter(({ names }) => names.length === 0).map(({ text }) => text);
  if (unknown.length > 0) {
    throw new AuthError("PERMISSION_UNKNOWN", { metadata: { unknown: unknown.join(" ") } });
  }
  // A pattern also reaches what the catalogue gains later. A user's and an internal key's live rights
  // bound that; an API key's own would not.
  const tooWide = actor.principal.type === "api_key" ? asked.filter(isPattern) : [];
  const notHeld = expanded.flatMap(({ names }) => names).filter((name) => !actor.permissions.has(name));
  if (tooWide.length > 0 || notHeld.length > 0) {
    throw new AuthError("PERMISSION_NOT_HELD", {
      metadata: { not_held: [...new Set([...tooWide, ...notHeld])].sort().join(" ") },
    });
  }
  return [...new Set(asked)].sort();
}
