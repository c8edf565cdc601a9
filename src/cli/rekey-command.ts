import { Command } from "commander";
import { openCore } from "../app.ts";
import { rekey } from "../changes/rekey.ts";
import { readConfig, set } from "../config.ts";
import { SEALED_COLUMNS } from "../sealed-columns.ts";
import { createLog, standardOutput } from "../server/log.ts";
import { CommandError } from "./command-error.ts";

export function rekeyCommand(): Command {
  return new Command("rekey")
    .description(
      "encrypt anew, under LATCHKEY_ENCRYPTION_KEY, what the database holds under LATCHKEY_ENCRYPTION_KEY_PREVIOUS; beside a running service, and again after it was broken off",
    )
    .action(run);
}

async function run(): Promise<void> {
  const config = readConfig(process.env, "rekey");
  const core = await openCore(
    {
      connection: set(config.databaseUrl),
      encryptionKey: set(config.encryptionKey),
      previousEncryptionKey: config.previousEncryptionKey,
      passwordMinimumLength: set(config.passwordMinimumLength),
    },
    createLog("silent", standardOutput()),
  );
  try {
    const results = await rekey(core, SEALED_COLUMNS);
    for (const { table, moved } of results) {
      process.stdout.write(`${table.padEnd(22)}${moved} moved\n`);
    }
    const broken = results.flatMap((result) => result.broken);
    if (broken.length > 0) {
      throw new CommandError(
        `${broken.length} values open under neither key, and stay as they are: ${broken.slice(0, 10).join(", ")}`,
      );
    }
    process.stdout.write(
      [
        "",
        "Everything is encrypted under LATCHKEY_ENCRYPTION_KEY. LATCHKEY_ENCRYPTION_KEY_PREVIOUS can be dropped",
        "once every replica runs with this LATCHKEY_ENCRYPTION_KEY, and this command has said so after that.",
        "",
      ].join("\n"),
    );
  } finally {
    await core.storage.close();
  }
}
