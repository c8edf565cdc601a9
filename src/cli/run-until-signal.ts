import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { App } from "../app.ts";
import type { OnePort } from "../server/one-port.ts";

export interface RunOptions {
  readonly host: string;
  readonly port: number;
  /** How long calls in flight may take at the end, in milliseconds. */
  readonly drainMillis: number;
  /** How long to go on serving after saying that the end is near, so that balancers can notice. */
  readonly noticeMillis: number;
  /** What ends the service besides a signal; each says why. */
  readonly endings: readonly Promise<string>[];
  readonly onListening: (port: OnePort) => void | Promise<void>;
}

/** Listens until SIGINT or SIGTERM, then drains: calls in flight are answered, new ones go elsewhere. */
export async function runUntilSignal(app: App, options: RunOptions, log: Logger): Promise<void> {
  const signal = Promise.withResolvers<string>();
  const onSignal = (name: NodeJS.Signals) => signal.resolve(name);
  // A second signal finds no listener and ends the process at once.
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  try {
    const port = await app.listen(options);
    await options.onListening(port);
    const why = await Promise.race([signal.promise, ...options.endings]);
    log.info({ why }, "draining");
    app.announceEnd();
    await delay(options.noticeMillis);
    app.endStreams();
    await port.close(options.drainMillis);
    log.info("stopped");
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}
