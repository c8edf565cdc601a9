import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { CommandError } from "./command-error.ts";
import { readInput } from "./read-input.ts";

/**
 * Reads secrets: at a terminal each is asked for and not shown, else each is a line of standard input. Never an
 * argument: everybody on the machine sees those.
 *
 * @param names what to ask for, in this order.
 * @throws CommandError where one is missing, or there is more.
 */
export async function readSecrets<const Names extends readonly string[]>(
  names: Names,
): Promise<{ readonly [At in keyof Names]: string }> {
  const lines = process.stdin.isTTY ? await ask(names) : (await readInput()).split(/\r?\n/);
  if (lines.at(-1) === "") {
    lines.pop();
  }
  if (lines.length !== names.length || lines.includes("")) {
    const wanted = names.join(", then ");
    throw new CommandError(`standard input holds, a line each: ${wanted}`);
  }
  return lines as unknown as { readonly [At in keyof Names]: string };
}

async function ask(names: readonly string[]): Promise<string[]> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  const interrupted = new AbortController();
  terminal.on("SIGINT", () => interrupted.abort());
  try {
    const lines: string[] = [];
    for (const name of names) {
      process.stderr.write(`${name}: `);
      lines.push(await terminal.question("", { signal: interrupted.signal }));
      process.stderr.write("\n");
    }
    return lines;
  } catch (error) {
    if (interrupted.signal.aborted) {
      throw new CommandError("nothing was done");
    }
    throw error;
  } finally {
    terminal.close();
  }
}
