import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Log } from "./log.ts";
import type { Job } from "./watchdog.ts";

/** A command under a watchdog of its own. */
export interface Supervised extends AsyncDisposable {
  /** The command's exit code (1 for a signal) once it and its watchdog are gone; never rejects. */
  readonly ended: Promise<number>;
  /** Lets this process end, and with it the command, when it has nothing else to do. */
  unref(): void;
  /** Ends the command; it is gone when this resolves. */
  [Symbol.asyncDispose](): Promise<void>;
}

// The sources run as .ts, what is published as .js.
const WATCHDOG = fileURLToPath(new URL(`./watchdog${extname(import.meta.url)}`, import.meta.url));

/** Runs a command that cannot outlive this process. */
export function supervise(job: Job, environment: NodeJS.ProcessEnv, log: Log): Supervised {
  const output = openSync(log.path, "a");
  const watchdog = spawn(process.execPath, [WATCHDOG, JSON.stringify(job)], {
    // A session of its own: a terminal's Ctrl-C is sent to our whole process group, and must not reach
    // PostgreSQL before we are done with it.
    detached: true,
    cwd: "/",
    env: environment,
    stdio: ["pipe", output, output],
  });
  closeSync(output);
  // It may be gone before its pipe is closed.
  watchdog.stdin?.on("error", () => {});
  const ended = new Promise<number>((resolve) => {
    watchdog.once("exit", (code) => resolve(code ?? 1));
    watchdog.once("error", (error) => {
      log.add(`could not run ${process.execPath}: ${error.message}`);
      resolve(1);
    });
  });
  return {
    ended,
    unref: () => watchdog.unref(),
    async [Symbol.asyncDispose]() {
      watchdog.ref();
      watchdog.stdin?.end();
      await ended;
    },
  };
}
