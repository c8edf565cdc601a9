import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { App } from "../app.ts";
import type { OnePort } from "../server/one-port.ts";
import { firstSignal } from "./first-signal.ts";
import { parentEnded } from "./parent-ended.ts";

export interface RunOptions {
  readonly host: string;
  readonly port: number;
  /** Whether other processes listen on it too. */
  readonly isShared?: boolean;
  /** How long calls in flight may take at the end, in milliseconds. */
  readonly drainMillis: number;
  /** How long to go on serving after saying that the end is near, so that balancers can notice. */
  readonly noticeMillis: number;
  /** Rejects where the service cannot go on. */
  readonly faults: readonly Promise<never>[];
  readonly onListening: (port: OnePort) => void;
}

/**
 * Listens until SIGINT or SIGTERM, then drains: calls in flight are answered, new ones go elsewhere. Drains
 * on a fault as well, and then rejects with it. A second signal ends the process at once.
 */
export async function runUntilSignal(app: App, options: RunOptions, log: Logger): Promise<void> {
  const signal = firstSignal();
  const port = await app.listen(options);
  options.onListening(port);
  let fault: unknown;
  const why = await Promise.race([signal, parentEnded(), ...options.faults]).catch((error: unknown) => {
    fault = error;
    return "a fault";
  });
  log.info({ why }, "draining");
  app.announceEnd();
  await delay(options.noticeMillis);
  app.endStreams();
  await port.close(options.drainMillis);
  await app.close();
  log.info("stopped");
  if (fault !== undefined) {
    throw fault;
  }
}
