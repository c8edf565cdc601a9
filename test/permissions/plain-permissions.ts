import fc from "fast-check";
import type { Catalogue, Grantee } from "../../src/permissions/permission-pattern.ts";

/** What a pattern says, as a regular expression: a star is one segment or more, all else is itself. */
export function plainPattern(pattern: string): RegExp | undefined {
  const segment = "[a-z][a-z0-9_]*";
  const segments = `${segment}(?:\\.${segment})*`;
  const forms = ["\\*", segments, `${segments}\\.\\*`, `\\*\\.${segments}`];
  if (!new RegExp(`^(?:${forms.join("|")})$`).test(pattern)) {
    return undefined;
  }
  return new RegExp(`^${pattern.replaceAll(".", "\\.").replaceAll("*", segments)}$`);
}

/** What names and patterns stand for, one permission after the other. */
export function plainRights(texts: readonly string[], grantee: Grantee, catalogue: Catalogue): Set<string> {
  const rights = new Set<string>();
  for (const text of texts) {
    for (const name of catalogue.organization) {
      const spared = grantee === "api-key" && text.includes("*") && name.startsWith("auth.");
      if (plainPattern(text)?.test(name) && !spared) {
        rights.add(name);
      }
    }
    for (const name of grantee === "service-key" ? catalogue.platform : []) {
      if (plainPattern(text)?.test(name)) {
        rights.add(name);
      }
    }
  }
  return rights;
}

const segment = fc.oneof(
  fc.constantFrom("auth", "calls", "read", "write", "platform", "a", "authx"),
  fc.stringMatching(/^[a-z][a-z0-9_]{0,3}$/),
);

/** Names of permissions that often share their first or last segments. */
export const names = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join("."));

export const patterns = fc.oneof(
  fc.constant("*"),
  names,
  names.map((name) => `${name}.*`),
  names.map((name) => `*.${name}`),
);

/** No name is in both scopes: it is the key of the catalogue's table. */
export const catalogues: fc.Arbitrary<Catalogue> = fc
  .tuple(fc.uniqueArray(names, { maxLength: 16 }), fc.nat(16))
  .map(([all, cut]) => ({ organization: all.slice(cut), platform: all.slice(0, cut) }));
