import assert from "node:assert/strict";

/** One row of a table: what is tried, and the one outcome that is right. */
export interface Row {
  readonly name: string;
  readonly outcome: string;
}

/** How many rows are tried at once. */
const AT_ONCE = 16;

/** Tries every row, and tells all of those that came out otherwise. */
export async function assertOutcomes<Case extends Row>(
  rows: readonly Case[],
  ask: (row: Case) => Promise<string>,
): Promise<void> {
  assert.ok(rows.length > 0, "a table has rows");
  const names = rows.map(({ name }) => name);
  assert.deepEqual(
    names.filter((name, at) => names.indexOf(name) !== at),
    [],
    "every row has a name of its own",
  );
  const wrong: string[] = [];
  const left = rows.entries();
  const work = async () => {
    for (const [at, row] of left) {
      const outcome = await ask(row);
      if (outcome !== row.outcome) {
        wrong[at] = `${row.name}: ${outcome}, not ${row.outcome}`;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  assert.deepEqual(Object.values(wrong), [], `of ${rows.length} rows`);
}

/** A text as it can be shown: what is not visible ASCII by its code. */
export function shown(text: string): string {
  return text.replace(/[^\x20-\x7e]/gu, (character) => `\\x{${character.codePointAt(0)?.toString(16)}}`);
}
