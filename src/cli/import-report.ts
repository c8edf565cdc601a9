import { type FileHandle, open } from "node:fs/promises";
import { ImportOutcome, ImportOutcomeSchema, type ImportResult } from "../gen/latchkey/v1/api_key_pb.ts";
import { CommandError } from "./command-error.ts";
import type { ImportRow } from "./import-rows.ts";
import { fieldsOf, note, write } from "./output.ts";

/** How many refused rows a person is shown; the report has them all. */
const MOST_SHOWN = 20;

/** What became of one row. */
export type RowResult = Pick<ImportResult, "id" | "outcome" | "reason" | "message">;

type ReportedRow = Pick<ImportRow<unknown>, "line" | "name">;

/** Counts what becomes of the rows, and tells it: row by row to programs, the refused ones to a person. */
export class ImportReport {
  readonly #counts = new Map<ImportOutcome, number>();
  readonly #file: FileHandle | undefined;
  readonly #json: boolean;

  private constructor(file: FileHandle | undefined, json: boolean) {
    this.#file = file;
    this.#json = json;
  }

  /** @param path of the file that gets a JSON line for each row, if there is to be one. */
  static async open(path: string | undefined, json: boolean): Promise<ImportReport> {
    const file =
      path === undefined
        ? undefined
        : await open(path, "w", 0o600).catch((error: Error) => {
            throw new CommandError(`${path} cannot be written: ${error.message}`);
          });
    return new ImportReport(file, json);
  }

  get rows(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  count(outcome: ImportOutcome): number {
    return this.#counts.get(outcome) ?? 0;
  }

  async add(results: readonly (readonly [row: ReportedRow, result: RowResult])[]): Promise<void> {
    const lines = results.map(([row, result]) => `${JSON.stringify(lineOf(row, result))}\n`).join("");
    await this.#file?.write(lines).catch((error: Error) => {
      throw new CommandError(`the report cannot be written: ${error.message}`);
    });
    if (this.#json) {
      // An import does not end because nobody reads about it.
      await write(lines).catch(() => {});
    }
    for (const [{ line, name }, { outcome, reason, message }] of results) {
      const before = this.count(outcome);
      this.#counts.set(outcome, before + 1);
      if (outcome === ImportOutcome.REFUSED && before < MOST_SHOWN) {
        note(`line ${line}${name === "" ? "" : ` (${name})`}: ${reason}: ${message}`);
      }
    }
  }

  /** Counts rows that nobody was told about by themselves. */
  skip(rows: number): void {
    this.#counts.set(ImportOutcome.SKIPPED, this.count(ImportOutcome.SKIPPED) + rows);
  }

  /** The sum of it: with `--json` on standard error, where it is in nobody's way. */
  async end(): Promise<void> {
    await this.#file?.close();
    const hidden = this.count(ImportOutcome.REFUSED) - MOST_SHOWN;
    if (hidden > 0 && !this.#json && this.#file === undefined) {
      note(`and ${hidden} more; --report <file> has them all`);
    }
    const counts = SHOWN.map(([name, outcome]) => [name, String(this.count(outcome))] as const);
    if (this.#json) {
      note(counts.map((count) => count.join(" ")).join(", "));
    } else {
      await write(fieldsOf(counts)).catch(() => {});
    }
  }
}

const SHOWN = [
  ["imported", ImportOutcome.IMPORTED],
  ["unchanged", ImportOutcome.UNCHANGED],
  ["refused", ImportOutcome.REFUSED],
  ["skipped", ImportOutcome.SKIPPED],
] as const;

/** As `ImportResult` is in JSON, with the row that it is about. It never holds a hash. */
function lineOf({ line, name }: ReportedRow, { id, outcome, reason, message }: RowResult) {
  return { line, name, id, outcome: ImportOutcomeSchema.value[outcome]?.name, reason, message };
}
