/**
 * A process of its own that runs one command and ends it when its standard input ends: when the process that
 * started it asks for that or is gone, however it went (kill -9 closes a pipe as well).
 */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";

export interface Job {
  readonly command: readonly string[];
  /** Whom to run the command as; only root may say. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  /** SIGINT (PostgreSQL's fast shutdown) first, SIGQUIT this many milliseconds later, then SIGKILL. */
  readonly patience: number;
  /** A temporary folder to remove once the command has ended. */
  readonly remove: string | undefined;
}

const job: Job = JSON.parse(process.argv[2] ?? "");

// A signal may be sent to all processes there are (systemd does). Our parent got it as well, and may want to
// answer its last requests first, so only the end of the pipe counts.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]) process.on(signal, () => {});

const [program = "", ...args] = job.command;
const child = spawn(program, args, { cwd: "/", stdio: ["ignore", "inherit", "inherit"], ...job.user });

child.on("error", (error) => {
  process.stderr.write(`could not run ${program}: ${error.message}\n`);
  finish(1);
});
child.on("exit", (code, signal) => {
  if (signal !== null) process.stderr.write(`ended by signal ${signal}\n`);
  finish(code ?? 1);
});

process.stdin.once("end", end).once("error", end).resume();

function end(): void {
  child.kill("SIGINT");
  setTimeout(() => child.kill("SIGQUIT"), job.patience);
  setTimeout(() => child.kill("SIGKILL"), 2 * job.patience);
}

function finish(code: number): void {
  if (job.remove !== undefined) rmSync(job.remove, { recursive: true, force: true });
  process.exit(code);
}
