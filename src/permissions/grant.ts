import { areRangesWithin } from "../authenticate/address-range.ts";
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
  actor: Pick<Decision, "principal" | "grants" | "permissions" | "catalogue">,
  asked: readonly string[],
  grantee: Grantee,
): string[] {
  const expanded = asked.map((text) => ({ text, names: expandPattern(text, grantee, actor.catalogue) }));
  const unknown = expanded.filter(({ names }) => names.length === 0).map(({ text }) => text);
  if (unknown.length > 0) {
    throw new AuthError("PERMISSION_UNKNOWN", { metadata: { unknown: unknown.join(" ") } });
  }
  // A pattern also reaches what the catalogue gains later. A person's rights grow along, and an API key
  // stays within its owner's; else a key passes on only patterns that it has itself and that reach as far.
  const { type } = actor.principal;
  const isBounded = type === "user" || (type === "service" && grantee === "api-key");
  const reachesAsFar = type === "service" || grantee === "api-key";
  const isCovered = (pattern: string) =>
    reachesAsFar && (actor.grants.includes(pattern) || actor.grants.includes("*"));
  const tooWide = isBounded ? [] : asked.filter((text) => isPattern(text) && !isCovered(text));
  const notHeld = expanded.flatMap(({ names }) => names).filter((name) => !actor.permissions.has(name));
  if (tooWide.length > 0 || notHeld.length > 0) {
    throw new AuthError("PERMISSION_NOT_HELD", {
      metadata: { not_held: [...new Set([...tooWide, ...notHeld])].sort().join(" ") },
    });
  }
  return [...new Set(asked)].sort();
}

/**
 * Checks that a key which is to be made is bound at least as narrowly as the key that makes it. A person's
 * token bounds nothing: its end is the end of a login, not of a person's rights.
 *
 * @throws AuthError PERMISSION_NOT_HELD
 */
export function checkBounds(
  { principal, credential, allowedCidrs }: Pick<Decision, "principal" | "credential" | "allowedCidrs">,
  asked: { readonly expireTime: Date | undefined; readonly allowedCidrs: readonly string[] },
): void {
  if (principal.type === "user") {
    return;
  }
  const { expireTime } = credential;
  if (expireTime !== undefined && (asked.expireTime === undefined || asked.expireTime > expireTime)) {
    throw new AuthError("PERMISSION_NOT_HELD", {
      message: `Your key ends at ${expireTime.toISOString()}: give the new one an expire_time no later.`,
      metadata: { bound: "expire_time" },
    });
  }
  const isNarrower = asked.allowedCidrs.length > 0 && areRangesWithin(asked.allowedCidrs, allowedCidrs);
  if (allowedCidrs.length > 0 && !isNarrower) {
    throw new AuthError("PERMISSION_NOT_HELD", {
      message: "Your key is bound to addresses: give the new one allowed_cidrs within yours.",
      metadata: { bound: "allowed_cidrs" },
    });
  }
}
