import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { CommandError } from "./command-error.ts";
import { jsonOf, note, Table, write } from "./output.ts";

/** The most rows that the service puts on a page. */
const PAGE_ROWS = 250;

/** One answer in both of its forms: as JSON, and as a person reads it. */
export interface Answer {
  readonly json: string;
  readonly shown: string;
}

interface JsonOption {
  readonly json?: boolean;
}

export function answerOf<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  shown: string,
): Answer {
  return { json: jsonOf(schema, message, 2), shown };
}

export async function print(options: JsonOption, answer: Answer): Promise<void> {
  await write(options.json ? answer.json : answer.shown);
}

/** An answer that holds a secret, which cannot be read again. */
export type SecretAnswer = Answer & {
  readonly secret: string;
  /** What it is called beside the answer. */
  readonly name?: string;
  /** What to do where it was lost. */
  readonly remedy: string;
} & (
    | {
        /** In which header it is sent. */
        readonly header: string;
      }
    | {
        /** What else to do with it. */
        readonly use: string;
      }
  );

/** @throws CommandError where nobody has taken the secret. */
export async function printSecret(options: JsonOption, answer: SecretAnswer): Promise<void> {
  const { json, shown, secret, name = "secret", remedy } = answer;
  const use = "use" in answer ? answer.use : `it is sent as ${answer.header}`;
  try {
    await print(options, { json, shown: `${shown === "" ? "" : `${shown}\n`}${name}  ${secret}\n` });
  } catch {
    throw new CommandError(`nobody has read the ${name}: ${remedy}`);
  }
  if (!options.json) {
    note(`the ${name} is told this once and cannot be read again; ${use}`);
  }
}

export interface ListOptions extends JsonOption {
  /** The most rows to print. */
  readonly limit?: number;
}

export interface Listing<Desc extends DescMessage> {
  readonly schema: Desc;
  readonly columns: readonly (readonly [name: string, cell: (row: MessageShape<Desc>) => string])[];
  readonly page: (page: { readonly pageSize: number; readonly pageToken: string }) => Promise<{
    readonly rows: readonly MessageShape<Desc>[];
    readonly nextPageToken: string;
  }>;
}

/** All pages, each as it comes: as JSON a line for each row, else as one table. */
export async function printList<Desc extends DescMessage>(
  { json, limit = Number.POSITIVE_INFINITY }: ListOptions,
  { schema, columns, page }: Listing<Desc>,
): Promise<void> {
  const table = new Table(columns.map(([name]) => name));
  let printed = 0;
  let pageToken = "";
  do {
    const pageSize = Math.min(limit - printed, PAGE_ROWS);
    const { rows, nextPageToken } = await page({ pageSize, pageToken });
    if (rows.length > 0) {
      await write(
        json
          ? rows.map((row) => jsonOf(schema, row)).join("")
          : table.add(rows.map((row) => columns.map(([, cell]) => cell(row)))),
      );
    }
    printed += rows.length;
    pageToken = nextPageToken;
  } while (pageToken !== "" && printed < limit);
  if (printed === 0) {
    note("there are none");
  }
}
