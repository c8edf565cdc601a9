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

/** The concrete permissions that a list of names and patterns stands for. */
export function expandPatterns(
  patterns: readonly string[],
  grantee: Grantee,
  catalogue: Catalogue,
): Set<string> {
  return new Set(patterns.flatMap((pattern) => expandPattern(pattern, grantee, catalogue)));
}
