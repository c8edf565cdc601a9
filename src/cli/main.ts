import { Command } from "commander";
import { authenticateCommand } from "./authenticate-command.ts";
import { bootstrapCommand } from "./bootstrap-command.ts";
import { devCommand } from "./dev-command.ts";
import { explainFailure } from "./failure.ts";
import { migrateCommand } from "./migrate-command.ts";
import { serveCommand } from "./serve-command.ts";

/** The command line. Sets the process's exit code; what went wrong is told on standard error. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command("latchkey")
    .description("Auth-as-a-service: raw headers in; principal, organization and permissions out.")
    .showHelpAfterError("(latchkey --help lists the commands)")
    .addCommand(devCommand())
    .addCommand(serveCommand())
    .addCommand(migrateCommand())
    .addCommand(bootstrapCommand())
    .addCommand(authenticateCommand());
  try {
    await program.parseAsync(argv);
  } catch (error) {
    for (const line of explainFailure(error)) {
      process.stderr.write(`latchkey: ${line}\n`);
    }
    process.exitCode = 1;
  }
  // Nothing that is still open, such as a connection whose other end is silent, keeps a command from ending.
  process.exit();
}
