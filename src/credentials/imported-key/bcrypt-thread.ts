import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { BcryptQuestion } from "./bcrypt-worker.ts";

/** The worker is a file beside this one, be it run from its source or as it was built. */
const WORKER = new URL(`./bcrypt-worker${extname(import.meta.url)}`, import.meta.url);

interface Waiting {
  resolve(isRight: boolean): void;
  reject(error: Error): void;
}

/**
 * Compares with bcrypt on a thread of its own: it is JavaScript, and would hold up every call for as long as it
 * takes. The thread starts when it is first needed, and keeps the process alive only while somebody waits.
 */
export class BcryptThread {
  #worker: Worker | undefined;
  #waiting: Waiting[] = [];

  async matches(text: string, hash: string): Promise<boolean> {
    const worker = this.#worker ?? this.#start();
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.#waiting.push({ resolve, reject });
    worker.ref();
    worker.postMessage({ text, hash } satisfies BcryptQuestion);
    return await promise;
  }

  async end(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(WORKER, { execArgv: [], env: {} });
    worker.on("message", (isRight: boolean) => {
      this.#waiting.shift()?.resolve(isRight);
      if (this.#waiting.length === 0) {
        worker.unref();
      }
    });
    const fail = (error: Error) => {
      if (this.#worker === worker) {
        this.#worker = undefined;
        const waiting = this.#waiting;
        this.#waiting = [];
        for (const { reject } of waiting) {
          reject(error);
        }
      }
    };
    worker.on("error", fail);
    worker.on("exit", () => fail(new Error("the thread of bcrypt has ended")));
    this.#worker = worker;
    return worker;
  }
}
