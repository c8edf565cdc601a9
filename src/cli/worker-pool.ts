import cluster, { type Worker } from "node:cluster";
import { extname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import { CommandError } from "./command-error.ts";
import { CrashHistory } from "./crash-history.ts";
import { LISTENING } from "./worker-message.ts";

/** How much longer than it is meant to the end of a worker may take. */
const GRACE_MILLIS = 10_000;

export interface WorkerPoolOptions {
  readonly workers: number;
  /** How long a worker may take to end that has calls in flight, in milliseconds. */
  readonly endMillis: number;
}

interface Ending {
  readonly code: number;
  readonly signal: string | null;
}

/** Processes that listen on one port, each with its number from 1. One that ends is replaced. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #log: Logger;
  readonly #running = new Map<number, Worker>();
  readonly #listening = new Set<Worker>();
  readonly #stopped = new AbortController();
  readonly #failed = Promise.withResolvers<never>();
  #isWell = true;

  constructor(options: WorkerPoolOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
    // Connections that are handed out by this process wait in it without a bound when more come than are taken:
    // one stranger can make everybody wait so. The operating system bounds what waits.
    cluster.schedulingPolicy = cluster.SCHED_NONE;
  }

  /**
   * Resolves where the first worker cannot start, and has told why.
   *
   * @throws CommandError where the workers end again and again.
   */
  async run(): Promise<string> {
    // Alone: what keeps every one of them from starting is told once.
    const first = this.#start(1);
    const ending = await Promise.race([listens(first), endOf(first)]);
    if (ending !== undefined) {
      this.#isWell = false;
      if (ending.signal !== null) {
        throw new CommandError(`the first worker was ended by ${ending.signal} before it could start`);
      }
      return "no worker can start";
    }
    void this.#keep(1, first);
    for (let number = 2; number <= this.#options.workers; number++) {
      void this.#keep(number, this.#start(number));
    }
    return await this.#failed.promise;
  }

  renewTls(): void {
    // It would end one that does not listen yet, which is about to read them anyway.
    for (const worker of this.#listening) {
      worker.process.kill("SIGHUP");
    }
  }

  kill(signal: NodeJS.Signals): void {
    for (const worker of this.#running.values()) {
      worker.process.kill(signal);
    }
  }

  /** Ends all of them at the same time, and starts no other. @returns whether each has ended as it should. */
  async end(): Promise<boolean> {
    this.#stopped.abort();
    await Promise.all([...this.#running.values()].map((worker) => this.#endOne(worker)));
    return this.#isWell;
  }

  async #endOne(worker: Worker): Promise<void> {
    const workerPid = worker.process.pid;
    const wasListening = this.#listening.has(worker);
    const timer = setTimeout(() => {
      this.#log.error({ workerPid }, "a worker does not end; it is killed");
      worker.process.kill("SIGKILL");
    }, this.#options.endMillis + GRACE_MILLIS);
    const ended = endOf(worker);
    worker.process.kill("SIGTERM");
    const { code, signal } = await ended;
    clearTimeout(timer);
    if (wasListening && code !== 0) {
      this.#log.error({ workerPid, code, signal }, "a worker has not ended as it should");
      this.#isWell = false;
    }
  }

  #start(number: number): Worker {
    // The source, or what was built from it.
    const file = new URL(`./serve-worker${extname(import.meta.filename)}`, import.meta.url);
    const args = [String(number), String(this.#options.workers)];
    cluster.setupPrimary({ exec: fileURLToPath(file), args });
    const worker = cluster.fork();
    this.#running.set(number, worker);
    worker.on("error", (error) => this.#log.warn({ worker: number, err: error }, "a worker cannot be told"));
    void listens(worker).then(() => this.#listening.add(worker));
    void endOf(worker).then(() => {
      this.#listening.delete(worker);
      if (this.#running.get(number) === worker) this.#running.delete(number);
    });
    return worker;
  }

  /** Puts another in the place of a worker that ends, and so on. */
  async #keep(number: number, first: Worker): Promise<void> {
    const crashes = new CrashHistory();
    const { signal: stopped } = this.#stopped;
    for (let worker = first; ; worker = this.#start(number)) {
      const ending = await endOf(worker);
      if (stopped.aborted) {
        return;
      }
      crashes.add();
      const { waitMillis } = crashes;
      const told = { worker: number, workerPid: worker.process.pid, ...ending, waitMillis };
      this.#log.error(told, "a worker has ended; another takes its place");
      // Where others answer it does no harm that one cannot start: the database may be away.
      if (crashes.isLoop && this.#listening.size === 0) {
        const why = "the workers end again and again, and none is left; the log says what of";
        this.#failed.reject(new CommandError(why));
        return;
      }
      await delay(waitMillis, undefined, { signal: stopped }).catch(() => {});
      if (stopped.aborted) {
        return;
      }
    }
  }
}

/** Resolves once a worker answers calls. */
function listens(worker: Worker): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  worker.on("message", (message) => {
    if (message === LISTENING) resolve(undefined);
  });
  return promise;
}

/** Resolves once a worker has ended that runs now, or that could not even be started. */
function endOf(worker: Worker): Promise<Ending> {
  const { promise, resolve } = Promise.withResolvers<Ending>();
  worker.once("exit", (code: number, signal: string | null) => resolve({ code, signal }));
  worker.on("error", () => {
    if (worker.process.pid === undefined) resolve({ code: 1, signal: null });
  });
  return promise;
}
