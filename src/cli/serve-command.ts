import { Command } from "commander";
import { buildApp, openCore } from "../app.ts";
import { readConfig, set, tlsSettings } from "../config.ts";
import { createLog, standardOutput } from "../server/log.ts";
import { readTls } from "../server/tls-files.ts";
import { migrate } from "../storage/migrate.ts";
import { runUntilSignal } from "./run-until-signal.ts";

export function serveCommand(): Command {
  return new Command("serve")
    .description(
      "run the service in production (needs DATABASE_URL, LATCHKEY_ENCRYPTION_KEY, LATCHKEY_PUBLIC_URL)",
    )
    .action(serve);
}

async function serve(): Promise<void> {
  const config = readConfig(process.env, "serve");
  const log = createLog(set(config.logLevel), standardOutput());
  const tlsFiles = tlsSettings(config);
  const tls = tlsFiles && (await readTls(tlsFiles));
  const connection = set(config.databaseUrl);
  const migrations = await migrate(connection, "production");
  if (migrations.length > 0) {
    log.info({ migrations }, "migrated the database");
  }
  const core = await openCore(
    {
      connection,
      encryptionKey: set(config.encryptionKey),
      previousEncryptionKey: config.previousEncryptionKey,
      passwordMinimumLength: set(config.passwordMinimumLength),
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
        drainMillis: set(config.drainSeconds) * 1000,
        noticeMillis: set(config.noticeSeconds) * 1000,
        faults: [],
        onListening: ({ address, port, renewTls }) => {
          if (tls !== undefined) process.on("SIGHUP", () => void renewTls());
          log.info({ address, port, publicUrl, tls: tls !== undefined }, "listening");
        },
      },
      log,
    );
  } finally {
    await core.storage.close();
  }
}
