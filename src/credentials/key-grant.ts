import { areRangesWithin } from "../authenticate/address-range.ts";
import type { Decision } from "../authenticate/decision.ts";
import { AuthError } from "../errors.ts";
import { checkBounds, checkGrant } from "../permissions/grant.ts";
import { expandPatterns } from "../permissions/permission-pattern.ts";
import { isLimitWithin, type RateLimit } from "./rate-limit.ts";

/** What a key gives to whoever holds it. */
export interface KeyGrant {
  /** Names and patterns. */
  readonly permissions: readonly string[];
  /** Undefined: it has no end. */
  readonly expireTime: Date | undefined;
  /** None: from anywhere. */
  readonly allowedCidrs: readonly string[];
  /** Undefined: as often as one likes. */
  readonly rateLimit: RateLimit | undefined;
}

/** What kind of key it is, and of an API key whose live rights bound it. */
export type KeyStanding =
  | { readonly grantee: "api-key"; readonly owner: Decision["owner"] }
  | { readonly grantee: "service-key" };

/**
 * Checks that an actor may hand out such a key: they hold all that it may do, and the key that they present
 * themselves, if it is one, is bound no closer.
 *
 * @returns the names and patterns, sorted.
 * @throws AuthError PERMISSION_UNKNOWN, PERMISSION_NOT_HELD
 */
export function checkKeyGrant(actor: Decision, standing: KeyStanding, asked: KeyGrant): string[] {
  const permissions = checkGrant(giverOf(actor, standing), asked.permissions, standing.grantee);
  checkBounds(actor, asked);
  if (!isLimitWithin(asked.rateLimit, actor.rateLimit)) {
    throw new AuthError("PERMISSION_NOT_HELD", {
      message: "Your key has a rate limit: what you hand out has one that is no looser.",
      metadata: { bound: "rate_limit" },
    });
  }
  return permissions;
}

/**
 * Checks what a change adds to a key, as if it were a new key: permissions that it did not have, or a later
 * end, more addresses and a looser limit for all that it may do. What only narrows it needs no right to it.
 *
 * @returns the names and patterns that it has then, sorted.
 * @throws AuthError PERMISSION_UNKNOWN, PERMISSION_NOT_HELD
 */
export function checkKeyChange(
  actor: Decision,
  standing: KeyStanding,
  before: KeyGrant,
  after: KeyGrant,
): string[] {
  const held = expandPatterns(before.permissions, standing.grantee, actor.catalogue);
  const added = after.permissions.filter((text) => !before.permissions.includes(text) && !held.has(text));
  const isWider = !isBoundWithin(after, before);
  if (isWider || added.length > 0) {
    checkKeyGrant(actor, standing, { ...after, permissions: isWider ? after.permissions : added });
  }
  return [...new Set(after.permissions)].sort();
}

function isBoundWithin(inner: KeyGrant, outer: KeyGrant): boolean {
  const endsInTime =
    outer.expireTime === undefined ||
    (inner.expireTime !== undefined && inner.expireTime <= outer.expireTime);
  const isNowhereElse =
    outer.allowedCidrs.length === 0 ||
    (inner.allowedCidrs.length > 0 && areRangesWithin(inner.allowedCidrs, outer.allowedCidrs));
  return endsInTime && isNowhereElse && isLimitWithin(inner.rateLimit, outer.rateLimit);
}

/**
 * A pattern reaches what the catalogue gains later. A key of the actor's own stays within their rights even so;
 * one of somebody else's does not, and so they need the pattern themselves, as an API key always does.
 */
function giverOf(actor: Decision, standing: KeyStanding): Decision {
  const isOthers = standing.grantee === "api-key" && !isSame(standing.owner, actor.owner);
  return isOthers ? { ...actor, principal: { ...actor.principal, type: "api_key" } } : actor;
}

function isSame(one: Decision["owner"], other: Decision["owner"]): boolean {
  return "userId" in one
    ? "userId" in other && one.userId === other.userId
    : "serviceKeyId" in other && one.serviceKeyId === other.serviceKeyId;
}
