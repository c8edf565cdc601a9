import { readFile } from "node:fs/promises";
import { CommandError } from "./command-error.ts";
import { note } from "./output.ts";

/** More than any credential, or any request's headers. */
const MOST_BYTES = 64 * 1024;

/**
 * Standard input, whole.
 *
 * @throws CommandError where it is longer than what is ever meant.
 */
export async function readInput(): Promise<string> {
  if (process.stdin.isTTY) {
    note("reading standard input; Ctrl-D ends it");
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin) {
    bytes += chunk.length;
    if (bytes > MOST_BYTES) {
      throw new CommandError(`standard input is longer than ${MOST_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/**
 * A file, or standard input for `-`.
 *
 * @throws CommandError where it cannot be read.
 */
export async function readTextFile(path: string): Promise<string> {
  return path === "-"
    ? await readInput()
    : await readFile(path, "utf8").catch((error: Error) => {
        throw new CommandError(`${path} cannot be read: ${error.message}`);
      });
}
