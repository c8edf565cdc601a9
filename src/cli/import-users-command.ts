import { Command } from "commander";
import { UserService, UserToImportSchema } from "../gen/latchkey/v1/user_pb.ts";
import { withExample } from "./example.ts";
import { type FileOptions, fileOptionsOf, MODES, requireFile, withFileOptions } from "./import-options.ts";
import { openService } from "./service.ts";
import { type ServiceOptions, withServiceOptions } from "./service-options.ts";

interface ImportUsersOptions extends ServiceOptions, FileOptions {
  readonly into?: string;
  readonly role?: string;
}

/** What comes from other systems and is not one organization's. */
export function importFromElsewhereCommand(): Command {
  return new Command("import").description("take over from another system").addCommand(usersCommand());
}

function usersCommand(): Command {
  const command = withServiceOptions(new Command("users"))
    .description("take over people by the hashes of their passwords, from JSON lines or CSV with a header")
    .argument("<file>", "the people, one a row: email, displayName, organizationId, role, passwordHash")
    .option("--into <id>", "the organization of rows that name none")
    .option("--role <name>", "the role of rows that name none")
    .action(run);
  return withExample(withFileOptions(command), "latchkey import users people.csv --role member --dry-run");
}

async function run(path: string, options: ImportUsersOptions): Promise<void> {
  await requireFile(path);
  const service = await openService(options, "platform");
  const [{ importFile }, { userRows }] = await Promise.all([
    import("./import-file.ts"),
    import("./import-user-rows.ts"),
  ]);
  await importFile({
    path,
    ...fileOptionsOf(path, options),
    schema: UserToImportSchema,
    rows: userRows({ organizationId: options.into, role: options.role }),
    organizationOf: ({ organizationId }) => organizationId,
    async send(users, validateOnly, call) {
      const request = { users, validateOnly, mode: MODES[options.mode] };
      return (await service.call(UserService.method.importUsers, request, call)).results;
    },
  });
}
