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

/** Segments that no generated name has. */
const UNHEARD_OF = ["unheard_of", "unheard_of.unseen_so_far"];

/** Whether one pattern reaches all that another ever will: also names that nobody has thought of. */
export function plainCovers(wide: string, narrow: string): boolean {
  return UNHEARD_OF.every((segments) => plainPattern(wide)?.test(narrow.replace("*", segments)) === true);
}

/**
 * What a request asks for of whoever holds these permissions: `allowed`, or what is wrong with it.
 *
 * @param all every one of which has to be held.
 * @param any of which one has to be held, unless there is none.
 */
export function plainVerdict(
  held: ReadonlySet<string>,
  { organization, platform }: Catalogue,
  all: readonly string[],
  any: readonly string[],
):
  | "allowed"
  | { readonly unknown: string[] }
  | { readonly missing: string[] }
  | { readonly missingAny: string[] } {
  const unknown: string[] = [];
  for (const name of [...all, ...any]) {
    if (![...organization, ...platform].includes(name)) {
      unknown.push(name);
    }
  }
  if (unknown.length > 0) {
    return { unknown };
  }
  const missing: string[] = [];
  for (const name of all) {
    if (!held.has(name)) {
      missing.push(name);
    }
  }
  if (missing.length > 0) {
    return { missing };
  }
  let isMet = any.length === 0;
  for (const name of any) {
    isMet ||= held.has(name);
  }
  return isMet ? "allowed" : { missingAny: [...any] };
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
