import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { CommandError } from "./command-error.ts";
import { csvRecords } from "./csv-records.ts";
import { type Line, readLines } from "./read-lines.ts";

export type FileFormat = "jsonl" | "csv";

/** One row of the file. */
export interface ImportRow<Item> {
  /** On which line it begins. */
  readonly line: number;
  readonly name: string;
  /** Undefined: it cannot be sent. */
  readonly item?: Item;
  /** Why not. */
  readonly fault?: RowFault;
}

/** What is wrong with one row, by the reason that the service would give. */
export class RowFault extends Error {
  override readonly name = "RowFault";
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** What the rows of a file are. */
export interface RowKind<Item> {
  /** The columns of CSV, as the fields are named in JSON. */
  readonly columns: readonly string[];
  /** What other columns may begin with: the rest of their names is a name in the field before the dot. */
  readonly group?: string;
  /** The column without which no row is any good. */
  readonly required: string;
  /** The field that a person knows a row by. */
  readonly name: string;
  /** The value of a cell of CSV, where it is not its text. */
  readonly lists?: readonly string[];
  /** @throws RowFault */
  read(fields: JsonObject): Item;
}

/**
 * The rows of a file, one at a time.
 *
 * @throws CommandError where the file itself is wrong, rather than a row of it.
 */
export async function* readRows<Item>(
  path: string,
  format: FileFormat,
  kind: RowKind<Item>,
): AsyncGenerator<ImportRow<Item>> {
  const lines = readLines(path);
  for await (const { line, fields } of format === "csv"
    ? csvObjects(path, lines, kind)
    : jsonObjects(lines)) {
    yield readRow(line, fields, kind);
  }
}

interface RowObject {
  readonly line: number;
  readonly fields: JsonObject | RowFault;
}

async function* jsonObjects(lines: AsyncIterable<Line>): AsyncGenerator<RowObject> {
  for await (const { number, text } of lines) {
    if (text.trim() !== "") {
      yield { line: number, fields: jsonObject(text) };
    }
  }
}

function jsonObject(text: string): JsonObject | RowFault {
  try {
    const value: JsonValue = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value;
    }
  } catch {
    // Told below. The parser's own words repeat the line, and with it the hash.
  }
  return new RowFault("REQUEST_INVALID", "the line is no JSON object");
}

async function* csvObjects<Item>(
  path: string,
  lines: AsyncIterable<Line>,
  kind: RowKind<Item>,
): AsyncGenerator<RowObject> {
  let columns: readonly string[] | undefined;
  for await (const { line, fields } of csvRecords(lines)) {
    if (columns === undefined) {
      columns = readHeader(path, fields, kind);
    } else {
      yield { line, fields: csvObject(columns, fields, kind) };
    }
  }
}

/** Names as in JSON, or with underscores as in the contract. */
function readHeader<Item>(
  path: string,
  fields: readonly string[],
  { columns, group, required }: RowKind<Item>,
): readonly string[] {
  const isOfGroup = (name: string) => group !== undefined && name.startsWith(group);
  const names = fields.map((field) => {
    const name = field.trim();
    return isOfGroup(name) ? name : name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
  });
  const wrong = names.filter(
    (name, at) => names.indexOf(name) !== at || !(isOfGroup(name) || columns.includes(name)),
  );
  if (wrong.length > 0 || !names.includes(required)) {
    const all = [...columns, ...(group === undefined ? [] : [`${group}…`])].join(", ");
    throw new CommandError(
      `${path}: the first line names the columns, each once, ${required} among them: ${all}`,
    );
  }
  return names;
}

function csvObject<Item>(
  columns: readonly string[],
  fields: readonly string[],
  { group = "", lists = [] }: RowKind<Item>,
): JsonObject | RowFault {
  if (fields.length !== columns.length) {
    return new RowFault(
      "REQUEST_INVALID",
      `the row has ${fields.length} fields, its header ${columns.length}`,
    );
  }
  const cells = columns
    .map((name, at) => [name, fields[at] ?? ""] as const)
    .filter(([, cell]) => cell !== "");
  const isOfGroup = (name: string) => group !== "" && name.startsWith(group);
  const grouped = cells.filter(([name]) => isOfGroup(name));
  const others = cells
    .filter(([name]) => !isOfGroup(name))
    .map(([name, cell]) => [name, lists.includes(name) ? cell.trim().split(/[\s,;]+/) : cell]);
  return {
    ...Object.fromEntries(others),
    ...(grouped.length > 0 && {
      [group.slice(0, -1)]: Object.fromEntries(
        grouped.map(([name, cell]) => [name.slice(group.length), cell]),
      ),
    }),
  };
}

function readRow<Item>(line: number, fields: JsonObject | RowFault, kind: RowKind<Item>): ImportRow<Item> {
  if (fields instanceof RowFault) {
    return { line, name: "", fault: fields };
  }
  const known = fields[kind.name];
  const name = typeof known === "string" ? known : "";
  try {
    return { line, name, item: kind.read(fields) };
  } catch (error) {
    if (!(error instanceof RowFault)) {
      throw error;
    }
    return { line, name, fault: error };
  }
}
