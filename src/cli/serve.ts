import type { Logger } from "pino";
import { buildApp, openCore } from "../app.ts";
import { type Config, set, tlsSettings } from "../config.ts";
import { readTls } from "../server/tls-files.ts";
import { runUntilSignal } from "./run-until-signal.ts";

export interface ServeOptions {
  /** How many such processes share this machine. */
  readonly workers: number;
  readonly onListening: () => void;
}

/** One replica in this process, on a database that was migrated, until it is told to end. */
export async function serve(
  config: Config,
  { workers, onListening }: ServeOptions,
  log: Logger,
): Promise<void> {
  const tlsFiles = tlsSettings(config);
  const tls = tlsFiles && (await readTls(tlsFiles));
  const core = await openCore(
    {
      connection: set(config.databaseUrl),
      encryptionKey: set(config.encryptionKey),
      previousEncryptionKey: config.previousEncryptionKey,
      passwordMinimumLength: set(config.passwordMinimumLength),
      workers,
    },
    log,
  );
  try {
    const publicUrl = set(config.publicUrl);
    const app = await buildApp(
      core,
      {
        publicUrl,
        audience: config.audience ?? publicUrl,
        callers: set(config.callers),
        memoryBytes: Math.floor((set(config.memoryMegabytes) * 1024 * 1024) / workers),
        apiKeyPrefix: set(config.apiKeyPrefix),
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
        host: set(config.host),
        port: set(config.port),
        isShared: workers > 1,
        drainMillis: set(config.drainSeconds) * 1000,
        noticeMillis: set(config.noticeSeconds) * 1000,
        faults: [],
        onListening: ({ address, port, renewTls }) => {
          if (tls !== undefined) process.on("SIGHUP", () => void renewTls());
          log.info({ address, port, publicUrl, tls: tls !== undefined }, "listening");
          onListening();
        },
      },
      log,
    );
  } finally {
    await core.storage.close();
  }
}
