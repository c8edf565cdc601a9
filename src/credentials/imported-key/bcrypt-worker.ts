import { parentPort } from "node:worker_threads";
import { compareSync } from "bcryptjs";

/** A text and the hash that it may be of, in; whether it is, out. One after the other. */
export interface BcryptQuestion {
  readonly text: string;
  readonly hash: string;
}

parentPort?.on("message", ({ text, hash }: BcryptQuestion) => {
  parentPort?.postMessage(compareSync(text, hash));
});
