import { stat } from "node:fs/promises";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { ImportMode, ImportOutcome } from "../gen/latchkey/v1/api_key_pb.ts";
import { CommandError } from "./command-error.ts";
import { batchRows } from "./import-batches.ts";
import { ImportReport, type RowResult } from "./import-report.ts";
import { type FileFormat, type ImportRow, type RowFault, type RowKind, readRows } from "./import-rows.ts";
import { note } from "./output.ts";
import type { CallOptions } from "./service.ts";

/** Ten thousand hashes take the service a while. */
const TIMEOUT_MILLIS = 120_000;
/** What a shell gives to a command that Ctrl-C has ended. */
const INTERRUPTED = 130;
/** Some rows, or all of them. */
const REFUSED = 1;

export interface Import<Schema extends DescMessage> {
  readonly path: string;
  readonly format: FileFormat;
  /** The file that gets a JSON line for each row. */
  readonly report: string | undefined;
  readonly json: boolean;
  readonly dryRun: boolean;
  readonly mode: ImportMode;
  /** What a row is sent as. */
  readonly schema: Schema;
  readonly rows: RowKind<MessageShape<Schema>>;
  /** What a row is about, where rows differ in that. */
  readonly organizationOf?: (item: MessageShape<Schema>) => string;
  /** Makes one call. @returns a result for each. */
  readonly send: (
    items: MessageShape<Schema>[],
    validateOnly: boolean,
    options: CallOptions,
  ) => Promise<readonly RowResult[]>;
}

/**
 * Imports the rows of a file, call by call, and reports what became of each. All or nothing holds for a call; of
 * a file that needs several, every row is looked at before the first is written.
 *
 * @throws CommandError where it cannot go on; what was imported by then stays, and is no fault the next time.
 */
export async function importFile<Schema extends DescMessage>(job: Import<Schema>): Promise<void> {
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  const report = await ImportReport.open(job.report, job.json);
  const run = { job, report, signal: interrupt.signal };
  try {
    if (job.mode !== ImportMode.ALL_OR_NOTHING || job.dryRun) {
      await importBatches(run);
    } else {
      await importAll(run);
    }
    if (report.count(ImportOutcome.REFUSED) > 0) {
      process.exitCode = REFUSED;
    }
  } catch (error) {
    if (!interrupt.signal.aborted) {
      throw error;
    }
    note("stopped; what was imported stays, and the same command does the rest");
    process.exitCode = INTERRUPTED;
  } finally {
    await report.end();
  }
}

interface Run<Schema extends DescMessage> {
  readonly job: Import<Schema>;
  readonly report: ImportReport;
  readonly signal: AbortSignal;
}

type Results = readonly (readonly [row: ImportRow<unknown>, result: RowResult])[];

/** Each call by itself; those that are all or nothing end with the first that is nothing. */
async function importBatches<Schema extends DescMessage>(run: Run<Schema>): Promise<void> {
  const { job, report } = run;
  const isAllOrNothing = job.mode === ImportMode.ALL_OR_NOTHING && !job.dryRun;
  for await (const batch of batchesOf(job)) {
    await report.add(await send(run, batch, job.dryRun));
    note(`${report.rows} rows ${job.dryRun ? "looked at" : "done"}`);
    if (isAllOrNothing && report.count(ImportOutcome.REFUSED) > 0) {
      note("stopped at these rows; those before them were imported");
      return;
    }
  }
}

/** Looks at every row first, and begins only if none is refused. */
async function importAll<Schema extends DescMessage>(run: Run<Schema>): Promise<void> {
  const { job, report } = run;
  const before = await stat(job.path);
  let rows = 0;
  for await (const batch of batchesOf(job)) {
    const results = await send(run, batch, true);
    await report.add(results.filter(([, { outcome }]) => outcome === ImportOutcome.REFUSED));
    rows += batch.length;
    note(`${rows} rows looked at`);
  }
  if (report.rows > 0) {
    report.skip(rows - report.rows);
    note("nothing was imported");
    return;
  }
  const { mtimeMs, size } = await stat(job.path);
  if (mtimeMs !== before.mtimeMs || size !== before.size) {
    throw new CommandError(`${job.path} was changed while it was looked at; nothing was imported`);
  }
  await importBatches(run);
}

function batchesOf<Schema extends DescMessage>({
  path,
  format,
  rows,
  schema,
  organizationOf,
}: Import<Schema>): AsyncIterable<readonly ImportRow<MessageShape<Schema>>[]> {
  return batchRows(readRows(path, format, rows), schema, organizationOf);
}

async function send<Schema extends DescMessage>(
  { job, signal }: Run<Schema>,
  rows: readonly ImportRow<MessageShape<Schema>>[],
  validateOnly: boolean,
): Promise<Results> {
  const sent = rows.filter(({ item }) => item !== undefined);
  const items = sent.flatMap(({ item }) => (item === undefined ? [] : [item]));
  if (items.length < rows.length && job.mode === ImportMode.ALL_OR_NOTHING && !validateOnly) {
    throw new CommandError(`${job.path} was changed after it was looked at`);
  }
  const options = { timeoutMillis: TIMEOUT_MILLIS, signal };
  const results = items.length === 0 ? [] : await job.send(items, validateOnly, options);
  if (results.length !== items.length) {
    throw new CommandError("the service did not answer for every row");
  }
  const answers = results.values();
  return rows.map((row) => [row, row.fault === undefined ? told(next(answers), sent) : refusalBy(row.fault)]);
}

function next(answers: Iterator<RowResult>): RowResult {
  const { value, done } = answers.next();
  if (done) {
    throw new Error("there is an answer for every row that was sent");
  }
  return value;
}

/** The service counts the rows of a call, a person the lines of the file. */
function told({ id, outcome, reason, message }: RowResult, sent: readonly ImportRow<unknown>[]): RowResult {
  const shown = message.replace(/\b(?:keys|users)\[(\d+)\] of this call/, (text, at) => {
    const row = sent[Number(at)];
    return row === undefined ? text : `line ${row.line}`;
  });
  return { id, outcome, reason, message: shown };
}

function refusalBy({ reason, message }: RowFault): RowResult {
  return { id: "", outcome: ImportOutcome.REFUSED, reason, message };
}
