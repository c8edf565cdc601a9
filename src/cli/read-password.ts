import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { CommandError } from "./command-error.ts";
import { readTextFile } from "./read-input.ts";

/**
 * A password: from a file, `-` for standard input, else asked for at the terminal, which does not show it. It
 * never comes by an argument: those are seen by everybody on the machine.
 *
 * @throws CommandError where there is none.
 */
export async function readPassword(file: string | undefined, prompt: string): Promise<string> {
  const text = file === undefined ? await ask(prompt) : await readTextFile(file);
  // The end of a line is not a part of it; spaces are.
  const password = text.replace(/\r?\n$/, "");
  if (password === "") {
    throw new CommandError("no password was given");
  }
  return password;
}

async function ask(prompt: string): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new CommandError("there is no terminal to ask for the password; give it by --password-file");
  }
  process.stderr.write(prompt);
  // What is typed would be written here.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output, terminal: true });
  const givenUp = new AbortController();
  terminal.on("SIGINT", () => givenUp.abort()).on("close", () => givenUp.abort());
  try {
    return await terminal.question("", { signal: givenUp.signal });
  } catch {
    throw new CommandError("no password was given");
  } finally {
    terminal.close();
    process.stderr.write("\n");
  }
}
