import { isDeepStrictEqual } from "node:util";

/**
 * What differs between two states of a thing, for the record: the fields that do, before and after.
 * Undefined: nothing does.
 */
export function differences<State extends object>(
  before: State,
  after: State,
): { before: Record<string, unknown>; after: Record<string, unknown> } | undefined {
  const changed = Object.entries(after).filter(
    ([name, value]) => !isDeepStrictEqual(value, before[name as keyof State]),
  );
  if (changed.length === 0) {
    return undefined;
  }
  const was = changed.map(([name]) => [name, before[name as keyof State] ?? null]);
  const is = changed.map(([name, value]) => [name, value ?? null]);
  return { before: Object.fromEntries(was), after: Object.fromEntries(is) };
}
