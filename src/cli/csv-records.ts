import { CommandError } from "./command-error.ts";
import type { Line } from "./read-lines.ts";

/** More than any row: a quotation mark that is never closed is not to take the whole file into memory. */
const MOST_CHARACTERS = 1024 * 1024;

/** A field, in quotation marks or bare, and what ends it (RFC 4180 section 2). */
const FIELD = /(?:"((?:[^"]|"")*)"|([^",]*))(,|$)/y;

export interface CsvRecord {
  /** On which line it begins. */
  readonly line: number;
  readonly fields: readonly string[];
}

/**
 * The records of a CSV file (RFC 4180). A field in quotation marks may go on over several lines; empty lines
 * between records are left out.
 *
 * @throws CommandError where the quotation marks do not match.
 */
export async function* csvRecords(lines: AsyncIterable<Line>): AsyncGenerator<CsvRecord> {
  let begun: Line | undefined;
  for await (const line of lines) {
    const { number, text }: Line = begun
      ? { number: begun.number, text: `${begun.text}\n${line.text}` }
      : line;
    // Each quotation mark opens or closes; one that is doubled does both.
    const isOpen = line.text.split('"').length % 2 === 0 ? begun === undefined : begun !== undefined;
    if (isOpen) {
      begun = { number, text };
      if (text.length > MOST_CHARACTERS) {
        break;
      }
    } else {
      begun = undefined;
      if (text !== "") {
        yield { line: number, fields: fieldsOf(number, text) };
      }
    }
  }
  if (begun !== undefined) {
    throw new CommandError(`line ${begun.number}: a quotation mark is never closed`);
  }
}

function fieldsOf(line: number, text: string): string[] {
  const fields: string[] = [];
  FIELD.lastIndex = 0;
  for (;;) {
    const [, quoted, bare, end] = FIELD.exec(text) ?? [];
    if (end === undefined) {
      throw new CommandError(`line ${line}: a quotation mark stands inside a field; double it`);
    }
    fields.push(quoted?.replaceAll('""', '"') ?? bare ?? "");
    if (end === "") {
      return fields;
    }
  }
}
