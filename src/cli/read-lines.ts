import { createReadStream } from "node:fs";
import { CommandError } from "./command-error.ts";

/** More than any row: what is no text of lines is not to be read into memory whole. */
const MOST_CHARACTERS = 1024 * 1024;

export interface Line {
  /** The first is 1. */
  readonly number: number;
  /** Without its end. */
  readonly text: string;
}

/**
 * The lines of a file, a little of it at a time.
 *
 * @throws CommandError where it cannot be read, is no UTF-8, or has a line without an end in sight.
 */
export async function* readLines(path: string): AsyncGenerator<Line> {
  let number = 0;
  let rest = "";
  for await (const text of decoded(path)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      number += 1;
      yield { number, text: line.replace(/\r$/, "") };
    }
    if (rest.length > MOST_CHARACTERS) {
      throw new CommandError(`${path}: line ${number + 1} is longer than ${MOST_CHARACTERS} characters`);
    }
  }
  if (rest !== "") {
    yield { number: number + 1, text: rest.replace(/\r$/, "") };
  }
}

async function* decoded(path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const chunk of createReadStream(path)) {
      yield decoder.decode(chunk, { stream: true });
    }
    yield decoder.decode();
  } catch (error) {
    const isEncoding = error instanceof TypeError && "code" in error;
    const why = isEncoding
      ? "is no UTF-8"
      : `cannot be read: ${error instanceof Error ? error.message : error}`;
    throw new CommandError(`${path} ${why}`);
  }
}
