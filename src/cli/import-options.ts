import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { type Command, Option } from "commander";
import { ImportMode } from "../gen/latchkey/v1/api_key_pb.ts";
import { CommandError } from "./command-error.ts";
import type { FileFormat } from "./import-rows.ts";

export const MODES = {
  "all-or-nothing": ImportMode.ALL_OR_NOTHING,
  "best-effort": ImportMode.BEST_EFFORT,
} as const;

/** The options of every import. */
export interface FileOptions {
  readonly mode: keyof typeof MODES;
  readonly dryRun?: boolean;
  readonly report?: string;
  readonly fileFormat?: FileFormat;
  readonly json?: boolean;
}

export function choice(flags: string, about: string, choices: object): Option {
  return new Option(flags, about).choices(Object.keys(choices));
}

export function withFileOptions(command: Command): Command {
  return command
    .addOption(choice("--mode <mode>", "where rows are refused", MODES).default("all-or-nothing"))
    .option("--dry-run", "only look")
    .option("--report <file>", "write what became of each row to this file, as JSON lines")
    .addOption(choice("--file-format <format>", "else by the name of the file", { jsonl: 1, csv: 1 }));
}

export function fileOptionsOf(path: string, options: FileOptions) {
  const byName = extname(path).toLowerCase() === ".csv" ? "csv" : "jsonl";
  return {
    format: options.fileFormat ?? byName,
    report: options.report,
    json: options.json ?? false,
    dryRun: options.dryRun ?? false,
    mode: MODES[options.mode],
  } as const;
}

/** It is read twice: first to look, then to import. */
export async function requireFile(path: string): Promise<void> {
  const found = await stat(path).catch((error: Error) => {
    throw new CommandError(`${path} cannot be read: ${error.message}`);
  });
  if (!found.isFile()) {
    throw new CommandError(`${path} is no file; it has to be one, since it is read twice`);
  }
}
