// One of the processes of `latchkey serve --workers`: what serve-by-workers.ts starts, with its number and how many
// there are.
import cluster from "node:cluster";
import { readConfig, set } from "../config.ts";
import { createLog, standardOutput } from "../server/log.ts";
import { runToEnd } from "./main.ts";
import { serve } from "./serve.ts";
import { LISTENING } from "./worker-message.ts";

const [, , number, workers] = process.argv;

await runToEnd("serve", async () => {
  if (cluster.worker !== undefined) {
    // Or Node would end this process at once, with its calls, where the one that has started it is gone.
    cluster.worker.exitedAfterDisconnect = true;
  }
  const config = readConfig(process.env, "serve");
  const log = createLog(set(config.logLevel), standardOutput()).child({ worker: Number(number) });
  await serve(config, { workers: Number(workers), onListening: () => process.send?.(LISTENING) }, log);
});
