import { CommanderError } from "commander";
import { CommandError } from "./command-error.ts";
import { OutputClosed, write } from "./output.ts";
import { buildProgram } from "./program.ts";

/** A command that was refused, or failed. */
const FAILED = 1;
/** What was typed is no command, or not all of one. */
const MISUSED = 2;
/** Commands whose own answer is told by 2. */
const DECIDES: ReadonlySet<string> = new Set(["authenticate", "explain"]);

/** The command line. */
export async function main(argv: readonly string[]): Promise<void> {
  const [, , name = ""] = argv;
  await runToEnd(name, async () => {
    const program = await buildProgram(name);
    await program.parseAsync(argv);
  });
}

/**
 * Does what this process is there for, and ends it. Sets its exit code; what went wrong is told on standard error.
 *
 * @param name of the command.
 */
export async function runToEnd(name: string, work: () => Promise<void>): Promise<void> {
  // Told to whoever writes; without somebody who listens it would end the process.
  process.stdout.on("error", () => {});
  process.stderr.on("error", () => {});
  try {
    await work();
    // All of it, before the end.
    await write("");
  } catch (error) {
    process.exitCode = await report(error, name, process.exitCode ?? 0);
  }
  // Nothing that is still open, such as a connection whose other end is silent, keeps a command from ending.
  process.exit();
}

/** @returns the exit code; `before` is what the command has set. */
async function report(error: unknown, name: string, before: number | string): Promise<number | string> {
  if (error instanceof OutputClosed) {
    // Whoever reads has seen enough: that is no failure.
    return before;
  }
  if (error instanceof CommanderError) {
    // Told already. Help that was asked for is no fault.
    return error.exitCode === 0 ? 0 : DECIDES.has(name) ? FAILED : MISUSED;
  }
  for (const line of await linesOf(error)) {
    process.stderr.write(`latchkey: ${line}\n`);
  }
  return FAILED;
}

/** What only the service itself can meet is known where the service is: that is loaded for nothing else. */
async function linesOf(error: unknown): Promise<string[]> {
  if (error instanceof CommandError) {
    const { redact } = await import("../server/log.ts");
    return [redact(error.message)];
  }
  const { explainFailure } = await import("./failure.ts");
  return explainFailure(error);
}
