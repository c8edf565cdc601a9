import { areRangesWithin } from "../authenticate/address-range.ts";
import type { Decision } from "../authenticate/decision.ts";
import { AuthError } from "../errors.ts";
import { compilePattern, expandPattern, type Grantee, isPattern } from "./permission-pattern.ts";

type Giver = Pick<Decision, "principal" | "parentKey" | "grants" | "permissions" | "catalogue">;

/**
 * Checks that an actor may grant what is asked: nobody grants what they do not hold.
 *
 * @returns the names and patterns, sorted.
 * @throws AuthError PERMISSION_UNKNOWN where one stands for nothing, PERMISSION_NOT_HELD where one stands
 * for more than the actor holds.
 */
export function checkGrant(actor: Giver, asked: readonly string[], grantee: Grantee): string[] {
  const expanded = asked.map((text) => ({ text, names: expandPattern(text, grantee, actor.catalogue) }));
  const unknown = expanded.filter(({ names }) => names.length === 0).map(({ text }) => text);
  if (unknown.length > 0) {
    throw new AuthError("PERMISSION_UNKNOWN", { metadata: { unknown: unknown.join(" ") } });
  }
  // A pattern also reaches what the catalogue gains later. An API key that stands on the actor stays within
  // what they hold then; whatever else is granted one has to be within a pattern of the actor's own. So has what
  // somebody grants with a token that may hold less than they do.
  const isAllOfThem = actor.principal.type !== "api_key" && actor.parentKey === undefined;
  const isBounded = grantee === "api-key" && isAllOfThem;
  const tooWide = isBounded
    ? []
    : asked.filter((text) => isPattern(text) && !holdsPattern(actor, text, grantee));
  const notHeld = expanded.flatMap(({ names }) => names).filter((name) => !actor.permissions.has(name));
  if (tooWide.length > 0 || notHeld.length > 0) {
    throw new AuthError("PERMISSION_NOT_HELD", {
      metadata: { not_held: [...new Set([...tooWide, ...notHeld])].sort().join(" ") },
    });
  }
  return [...new Set(asked)].sort();
}

/** Whether all that a pattern will ever reach, as the grantee's, is then the actor's. */
function holdsPattern(
  { principal, grants, permissions, catalogue }: Giver,
  pattern: string,
  grantee: Grantee,
): boolean {
  const { platform } = catalogue;
  const isAdministrator = platform.length > 0 && platform.every((name) => permissions.has(name));
  const reachesAsFar = {
    // The patterns of an API key spare `auth.*`.
    api_key: grantee === "api-key",
    service: true,
    // Those of a role end with the organization. Of the platform a person holds everything or nothing.
    user: grantee !== "service-key" || isAdministrator,
  };
  return reachesAsFar[principal.type] && grants.some((wide) => compilePattern(wide)?.(pattern) === true);
}

/**
 * Checks that a key which is to be handed out is bound at least as narrowly as the credential of whoever does. The
 * token of a person who logged in bounds nothing: its end is the end of a login, not of a person's rights.
 *
 * @throws AuthError PERMISSION_NOT_HELD
 */
export function checkBounds(
  actor: Pick<Decision, "principal" | "parentKey" | "credential" | "allowedCidrs">,
  asked: { readonly expireTime: Date | undefined; readonly allowedCidrs: readonly string[] },
): void {
  const { principal, parentKey, credential, allowedCidrs } = actor;
  if (principal.type === "user" && parentKey === undefined) {
    return;
  }
  const { expireTime } = credential;
  if (expireTime !== undefined && (asked.expireTime === undefined || asked.expireTime > expireTime)) {
    throw new AuthError("PERMISSION_NOT_HELD", {
      message: `Your credential ends at ${expireTime.toISOString()}: what you hand out has to end no later.`,
      metadata: { bound: "expire_time" },
    });
  }
  const isNarrower = asked.allowedCidrs.length > 0 && areRangesWithin(asked.allowedCidrs, allowedCidrs);
  if (allowedCidrs.length > 0 && !isNarrower) {
    throw new AuthError("PERMISSION_NOT_HELD", {
      message: "Your credential is bound to addresses: what you hand out has to be bound within yours.",
      metadata: { bound: "allowed_cidrs" },
    });
  }
}
