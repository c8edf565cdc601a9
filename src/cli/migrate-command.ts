import { Command } from "commander";
import { readConfig, set } from "../config.ts";
import { migrate } from "../storage/migrate.ts";

export function migrateCommand(): Command {
  return new Command("migrate")
    .description("bring the database's schema up to date (`serve` does it too; several at once take turns)")
    .action(async () => {
      const config = readConfig(process.env, "migrate");
      const migrations = await migrate(set(config.databaseUrl), "production");
      const done =
        migrations.length === 0 ? "the schema is up to date" : `migrated: ${migrations.join(", ")}`;
      process.stdout.write(`${done}\n`);
    });
}
