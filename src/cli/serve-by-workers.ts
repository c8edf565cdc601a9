import type { Logger } from "pino";
import { firstSignal } from "./first-signal.ts";
import { parentEnded } from "./parent-ended.ts";
import { WorkerPool, type WorkerPoolOptions } from "./worker-pool.ts";

export interface ServeByWorkersOptions extends WorkerPoolOptions {
  /** Whether there are files of TLS, which SIGHUP tells to read again. */
  readonly hasTls: boolean;
}

/**
 * Answers with several processes on one port, each a replica, until SIGINT or SIGTERM: then all of them drain at the
 * same time. The operating system spreads the connections. This process only starts the others: it sees no connection,
 * and has none to the database.
 *
 * @throws CommandError where the workers cannot go on.
 */
export async function serveByWorkers(options: ServeByWorkersOptions, log: Logger): Promise<void> {
  const pool = new WorkerPool(options, log);
  const signal = firstSignal((name) => pool.kill(name));
  if (options.hasTls) {
    process.on("SIGHUP", () => pool.renewTls());
  }
  let fault: unknown;
  const why = await Promise.race([signal, parentEnded(), pool.run()]).catch((error: unknown) => {
    fault = error;
    return "a fault";
  });
  log.info({ why }, "ending the workers");
  const isWell = await pool.end();
  if (fault !== undefined) {
    throw fault;
  }
  if (!isWell) {
    process.exitCode = 1;
  }
}
