import { Command } from "commander";
import { openCore } from "../app.ts";
import { readConfig, set } from "../config.ts";
import { createLog, standardOutput } from "../server/log.ts";
import { migrate } from "../storage/migrate.ts";
import { bootstrap } from "../users/bootstrap.ts";

export function bootstrapCommand(): Command {
  return new Command("bootstrap")
    .description(
      "make the first administrator, with a one-time password that has to be changed first; only while no administrator can log in",
    )
    .requiredOption("--organization <name>", "the organization that they own; made if it does not exist")
    .requiredOption("--email <address>", "their email address")
    .action(run);
}

async function run(options: { organization: string; email: string }): Promise<void> {
  const config = readConfig(process.env, "bootstrap");
  const log = createLog("silent", standardOutput());
  const connection = set(config.databaseUrl);
  await migrate(connection, "production");
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
    const password = core.passwordPolicy.generate();
    const { organizationId, expireTime } = await bootstrap(core, { ...options, password });
    process.stdout.write(
      [
        `organization  ${options.organization} (${organizationId})`,
        `email         ${options.email}`,
        `password      ${password}`,
        "",
        `The password is told once and ends at ${expireTime.toISOString()}. Nothing else works with it until`,
        `it is changed: latchkey user change-password ${options.email}`,
        "",
      ].join("\n"),
    );
  } finally {
    await core.storage.close();
  }
}
