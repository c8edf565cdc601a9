import { mkdir, stat } from "node:fs/promises";
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
import { SealBroken } from "../storage/seal.ts";
import { CommandError } from "./command-error.ts";
import { welcome } from "./dev-welcome.ts";
import { lostEncryptionKey, ownEncryptionKey } from "./own-encryption-key.ts";
import { requireFreePort } from "./require-free-port.ts";
import { runUntilSignal } from "./run-until-signal.ts";
import { seedDevelopment } from "./seed-development.ts";

const LOOPBACK = /^(localhost|127(\.\d+){3}|::1)$/;
const WRITABLE_BY_ALL = 0o002;

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
  if (((await stat(directory)).mode & WRITABLE_BY_ALL) !== 0) {
    throw new CommandError(`${directory} can be written to by everybody: chmod 700 it, or choose another`);
  }
  // Before anything is made: a first start that fails here would leave credentials that nobody was told.
  await requireFreePort(set(config.host), set(config.port));
  await withDatabase(config, directory, (connection, faults) =>
    serveDevelopment(config, directory, connection, faults, log),
  );
}

/** Runs on the database of DATABASE_URL, or on one of its own that ends with it. */
async function withDatabase(
  config: Config,
  directory: string,
  use: (connection: DatabaseConnection, faults: readonly Promise<never>[]) => Promise<void>,
): Promise<void> {
  if (config.databaseUrl !== undefined) {
    await use(config.databaseUrl, []);
    return;
  }
  const postgres = await startEmbeddedPostgres({ directory: join(directory, "postgres") });
  const died = postgres.died.then((error) => Promise.reject(error));
  // It may die before anybody waits for that.
  died.catch(() => {});
  try {
    await use(postgres.connection, [died]);
  } finally {
    await postgres.stop();
  }
}

async function serveDevelopment(
  config: Config,
  directory: string,
  connection: DatabaseConnection,
  faults: readonly Promise<never>[],
  log: Logger,
): Promise<void> {
  const tlsFiles = tlsSettings(config);
  const tls = tlsFiles && (await readTls(tlsFiles));
  await migrate(connection, "development");
  const encryptionKey = config.encryptionKey ?? (await ownEncryptionKey(directory));
  const passwordMinimumLength = set(config.passwordMinimumLength);
  const { previousEncryptionKey } = config;
  const settings = { connection, encryptionKey, previousEncryptionKey, passwordMinimumLength };
  const core = await openCore(settings, log).catch((error) => {
    const isOwn = config.encryptionKey === undefined && error instanceof SealBroken;
    throw isOwn ? lostEncryptionKey(directory) : error;
  });
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
        // The credentials were printed; whoever reaches another address may not be the one who read them.
        callers: config.callers ?? (LOOPBACK.test(host) ? "any" : "authenticated"),
        memoryBytes: set(config.memoryMegabytes) * 1024 * 1024,
        apiKeyPrefix,
        apiKeyOldPrefixes: config.apiKeyOldPrefixes ?? [],
        loginSourceLimit: set(config.loginSourceLimit),
        signingAlgorithm: set(config.signingAlgorithm),
        signingKeyDays: set(config.signingKeyDays),
        corsOrigins: config.corsOrigins ?? [],
        leanTransport: set(config.leanTransport) === "on",
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
        faults,
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
