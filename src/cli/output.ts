import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { toJson } from "@bufbuild/protobuf";
import { CommandError } from "./command-error.ts";

/** Whoever read our output has stopped to: `latchkey key list | head`. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/**
 * Writes to standard output, no faster than it is read.
 *
 * @throws OutputClosed where nobody reads it any more.
 * @throws CommandError where it has no room.
 */
export async function write(text: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  process.stdout.write(text, (error) => {
    if (error == null) {
      resolve();
    } else {
      const isClosed = "code" in error && error.code === "EPIPE";
      reject(
        isClosed ? new OutputClosed() : new CommandError(`cannot write what was asked for: ${error.message}`),
      );
    }
  });
  await promise;
}

/** Tells the person something beside the answer: on standard error, a line. */
export function note(text: string): void {
  process.stderr.write(`latchkey: ${plain(text)}\n`);
}

/** A message by the JSON mapping of protobuf. What is empty is written too, so that the shape is the same. */
export function jsonOf<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  spaces = 0,
): string {
  return `${JSON.stringify(toJson(schema, message, { alwaysEmitImplicit: true }), undefined, spaces)}\n`;
}

/** Lines of a name and a value, one below the other. What has no value is left out. */
export function fieldsOf(fields: readonly (readonly [name: string, value: string | undefined])[]): string {
  const told = fields.filter((field): field is readonly [string, string] => (field[1] ?? "") !== "");
  const width = Math.max(...told.map(([name]) => name.length));
  return told.map(([name, value]) => `${name.padEnd(width)}  ${plain(value)}\n`).join("");
}

/** Lines of cells, one below the other; the first line names them. It can be continued later. */
export class Table {
  readonly #names: readonly string[];
  #widths: readonly number[] | undefined;

  constructor(names: readonly string[]) {
    this.#names = names;
  }

  /** @returns what to write. The first rows decide how wide it is, and are headed by the names. */
  add(rows: readonly (readonly string[])[]): string {
    const shown = rows.map((row) => row.map(plain));
    const lines = this.#widths === undefined ? [this.#names, ...shown] : shown;
    this.#widths ??= this.#names.map((_, at) => Math.max(...lines.map((line) => lengthOf(line[at] ?? ""))));
    return lines.map((line) => `${this.#line(line)}\n`).join("");
  }

  #line(cells: readonly string[]): string {
    return cells
      .map((cell, at) => cell + " ".repeat(Math.max(0, (this.#widths?.[at] ?? 0) - lengthOf(cell))))
      .join("  ")
      .trimEnd();
  }
}

/** What comes from elsewhere cannot move the cursor or forge a line. */
function plain(text: string): string {
  return text.replace(/\p{C}/gu, "\u{fffd}");
}

function lengthOf(text: string): number {
  return [...text].length;
}
