/** The permissions of the deployment by scope, as the database has them. */
export interface Catalogue {
  readonly organization: readonly string[];
  readonly platform: readonly string[];
}

/** What a list of names and patterns is attached to: that decides how far its patterns reach. */
export type Grantee = "role" | "api-key" | "service-key";

const SEGMENTS = /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$/;

/**
 * A test of names for `*`, `calls.*`, `*.read` or the one name `calls.read`.
 * Undefined where the text is none of these. A star stands for one segment or more.
 */
export function compilePattern(pattern: string): ((name: string) => boolean) | undefined {
  if (pattern === "*") {
    return () => true;
  }
  if (pattern.endsWith(".*") && SEGMENTS.test(pattern.slice(0, -2))) {
    const prefix = pattern.slice(0, -1);
    return (name) => name.startsWith(prefix);
  }
  if (pattern.startsWith("*.") && SEGMENTS.test(pattern.slice(2))) {
    const suffix = pattern.slice(1);
    return (name) => name.endsWith(suffix);
  }
  return SEGMENTS.test(pattern) ? (name) => name === pattern : undefined;
}

/** Whether the text is a pattern over several permissions, rather than the name of one. */
export function isPattern(text: string): boolean {
  return text.includes("*");
}

/**
 * The concrete permissions that one name or pattern stands for.
 *
 * - A role's and an API key's reach ORGANIZATION permissions only; an internal key's reach both scopes.
 * - An API key's patterns never reach Latchkey's own `auth.*`, so that a key made for everything cannot
 *   make keys; it can hold those by name.
 */
export function expandPattern(pattern: string, grantee: Grantee, catalogue: Catalogue): string[] {
  const matches = compilePattern(pattern);
  if (matches === undefined) {
    return [];
  }
  const spareOwn = grantee === "api-key" && isPattern(pattern);
  const reachable =
    grantee === "service-key" ? [...catalogue.organization, ...catalogue.platform] : catalogue.organization;
  return reachable.filter((name) => matches(name) && !(spareOwn && name.startsWith("auth.")));
}

/**
 * The concrete permissions that a list of names and patterns stands for. For the same catalogue and an equal list it
 * is the same set: most keys and roles have what many others have.
 */
export function expandPatterns(
  patterns: readonly string[],
  grantee: Grantee,
  catalogue: Catalogue,
): ReadonlySet<string> {
  return expanded.of(
    catalogue,
    [grantee, ...patterns].join(" "),
    () => new Set(patterns.flatMap((pattern) => expandPattern(pattern, grantee, catalogue))),
  );
}

/** What is in both sets: for the same two the same set. */
export function inBoth(one: ReadonlySet<string>, other: ReadonlySet<string>): ReadonlySet<string> {
  return shared.of(one, other, () => one.intersection(other));
}

/** How many sets are kept for one catalogue, or one set. */
const MOST_KEPT = 2_000;

class Interned<Owner extends object, Name> {
  readonly #byOwner = new WeakMap<Owner, Map<Name, ReadonlySet<string>>>();

  of(owner: Owner, name: Name, make: () => ReadonlySet<string>): ReadonlySet<string> {
    const known = this.#byOwner.get(owner) ?? new Map<Name, ReadonlySet<string>>();
    this.#byOwner.set(owner, known);
    let found = known.get(name);
    if (found === undefined) {
      if (known.size >= MOST_KEPT) {
        known.clear();
      }
      found = make();
      known.set(name, found);
    }
    return found;
  }
}

const expanded = new Interned<Catalogue, string>();
const shared = new Interned<ReadonlySet<string>, ReadonlySet<string>>();
