import { type Catalogue, expandPatterns, type Grantee } from "./permission-pattern.ts";

/** What somebody holds: the names and patterns that it comes from, and the concrete permissions. */
export interface Rights {
  readonly grants: readonly string[];
  readonly permissions: ReadonlySet<string>;
}

/**
 * What is left of somebody's rights for whoever is to have no more than what is named. They have it by names alone:
 * a pattern of theirs would reach further when the catalogue grows.
 *
 * @param named names and patterns, as the grantee's; undefined for all.
 */
export function narrow(
  rights: Rights,
  named: readonly string[] | undefined,
  grantee: Grantee,
  catalogue: Catalogue,
): Rights {
  return named === undefined ? rights : byName(expandPatterns(named, grantee, catalogue), rights.permissions);
}

/** What both hold, by names alone. */
export function shared(one: Rights, other: Rights): Rights {
  return byName(one.permissions, other.permissions);
}

function byName(one: ReadonlySet<string>, other: ReadonlySet<string>): Rights {
  const permissions = one.intersection(other);
  return { grants: [...permissions].sort(), permissions };
}
