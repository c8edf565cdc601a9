import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Command } from "commander";
import type { Logger } from "pino";
import { buildApp, openCore } from "../app.ts";
import { type Config, readConfig, set, tlsSettings } from "../config.ts";
import { createLog, standardOutput } from "../server/log.ts";
import { readTls } from "../server/tls-files.ts";
import type { DatabaseConnection } from "../storage/database-connection.ts";
import { startEmbeddedPostgres } from "../storage/embedded-postgres.ts";
import { migrate } from "../storage/migrate.ts";
import { welcome } from "./dev-welcome.ts";
import { CommandError } from "./failure.ts";
import { ownEncryptionKey } from "./own-encryption-key.ts";
import { parentEnded } from "./parent-ended.ts";
import { runUntilSignal } from "./run-until-signal.ts";
import { seedDevelopment } from "./seed-development.ts";

export function devCommand(): Command {
  return new Command("dev")
    .description("run the service for development, with a database of its own (what `npm start` does)")
    .action(dev);
}

async function dev(): Promise<void> {
  const config = readConfig(process.env, "dev");
  const log = createLog(set(config.logLevel), standardOutput());
  const directory = resolve(set(config.dataDirectory));
  await mkdir(directory, { recursive: true, mode: 0o700 }).catch((error: Error) => {
    throw new CommandError(`LATCHKEY_DATA_DIR cannot be made: ${error.message}`);
  });
  await withDatabase(config, directory, (connection, died) =>
    serveDevelopment(config, directory, connection, died, log),
  );
}

/** Runs on the database of DATABASE_URL, or on one of its own that ends with it. */
async function withDatabase(
  config: Config,
  directory: string,
  use: (connection: DatabaseConnection, died: Promise<string>[]) => Promise<void>,
): Promise<void> {
  if (config.databaseUrl !== undefined) {
    await use(config.databaseUrl, []);
    return;
  }
  const postgres = await startEmbeddedPostgres({ directory: join(directory, "postgres") });
  try {
    await use(postgres.connection, [postgres.died.then((error) => error.message)]);
  } finally {
    await postgres.stop();
  }
}

async function serveDevelopment(
  config: Config,
  directory: string,
  connection: DatabaseConnection,
  died: readonly Promise<string>[],
  log: Logger,
): Promise<void> {
  const tlsFiles = tlsSettings(config);
  const tls = tlsFiles && (await readTls(tlsFiles));
  await migrate(connection, "development");
  const encryptionKey = config.encryptionKey ?? (await ownEncryptionKey(directory));
  const passwordMinimumLength = set(config.passwordMinimumLength);
  const core = await openCore({ connection, encryptionKey, passwordMinimumLength }, log);
  try {
    const host = set(config.host);
    const port = set(config.port);
    const scheme = tls === undefined ? "http" : "https";
    const publicUrl = config.publicUrl ?? `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
    const apiKeyPrefix = set(config.apiKeyPrefix);
    const seeded = await seedDevelopment(core, { directory, url: publicUrl, apiKeyPrefix });
    const app = await buildApp(
      core,
      {
        publicUrl,
        audience: config.audience ?? publicUrl,
        callers: set(config.callers),
        apiKeyPrefix,
        apiKeyOldPrefixes: config.apiKeyOldPrefixes ?? [],
        corsOrigins: config.corsOrigins ?? [],
        tls,
      },
      log,
    );
    await runUntilSignal(
      app,
      {
        host,
        port,
        drainMillis: set(config.drainSeconds) * 1000,
        noticeMillis: set(config.noticeSeconds) * 1000,
        endings: [...died, parentEnded()],
        onListening: () => {
          process.stdout.write(welcome(seeded));
        },
      },
      log,
    );
  } finally {
    await core.storage.close();
  }
}
