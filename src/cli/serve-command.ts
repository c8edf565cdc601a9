import { Command } from "commander";
import { readConfig, set, tlsSettings } from "../config.ts";
import { createLog, standardOutput } from "../server/log.ts";
import { readTls } from "../server/tls-files.ts";
import { migrate } from "../storage/migrate.ts";
import { parseWorkers } from "./parse-option.ts";
import { requireFreePort } from "./require-free-port.ts";
import { serve } from "./serve.ts";
import { serveByWorkers } from "./serve-by-workers.ts";

export function serveCommand(): Command {
  return new Command("serve")
    .description(
      "run the service in production (needs DATABASE_URL, LATCHKEY_ENCRYPTION_KEY, LATCHKEY_PUBLIC_URL)",
    )
    .option(
      "--workers <n>",
      "how many processes to answer with, on one port, or auto: one for each core (default: LATCHKEY_WORKERS, or 1)",
      parseWorkers,
    )
    .action(run);
}

async function run(options: { readonly workers?: number }): Promise<void> {
  const config = readConfig(process.env, "serve");
  const workers = options.workers ?? set(config.workers);
  const log = createLog(set(config.logLevel), standardOutput());
  // What is wrong with these is told before anything is done, and once.
  const tls = tlsSettings(config);
  if (tls !== undefined) {
    await readTls(tls);
  }
  const migrations = await migrate(set(config.databaseUrl), "production");
  if (migrations.length > 0) {
    log.info({ migrations }, "migrated the database");
  }
  if (workers === 1) {
    await serve(config, { workers, onListening: () => {} }, log);
  } else {
    // Workers share their port with whoever of the same user shares it as well: with no other service, that is.
    await requireFreePort(set(config.host), set(config.port));
    const endMillis = (set(config.noticeSeconds) + set(config.drainSeconds)) * 1000;
    await serveByWorkers({ workers, endMillis, hasTls: tls !== undefined }, log);
  }
}
