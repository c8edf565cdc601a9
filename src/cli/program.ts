import { Command } from "commander";

/** The commands, each loaded when it is asked for: most need nothing of the service itself. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  dev: async () => (await import("./dev-command.ts")).devCommand(),
  serve: async () => (await import("./serve-command.ts")).serveCommand(),
  migrate: async () => (await import("./migrate-command.ts")).migrateCommand(),
  bootstrap: async () => (await import("./bootstrap-command.ts")).bootstrapCommand(),
  authenticate: async () => (await import("./authenticate-command.ts")).authenticateCommand(),
  explain: async () => (await import("./explain-command.ts")).explainCommand(),
  key: async () => (await import("./key-command.ts")).keyCommand(),
  role: async () => (await import("./role-command.ts")).roleCommand(),
  permission: async () => (await import("./permission-command.ts")).permissionCommand(),
  "service-key": async () => (await import("./service-key-command.ts")).serviceKeyCommand(),
  org: async () => (await import("./organization-command.ts")).organizationCommand(),
  audit: async () => (await import("./audit-command.ts")).auditCommand(),
};

/** The command line; with the name of one command, that one alone. */
export async function buildProgram(name = ""): Promise<Command> {
  const program = new Command("latchkey").description(
    "Auth-as-a-service: raw headers in; principal, organization and permissions out.",
  );
  const loads = Object.hasOwn(COMMANDS, name) ? [COMMANDS[name]] : Object.values(COMMANDS);
  for (const command of await Promise.all(loads.map((load) => load?.()))) {
    if (command !== undefined) {
      program.addCommand(command);
    }
  }
  settle(program, []);
  return program;
}

/** How each command fails: by what it throws, after one line that says where to read more. */
function settle(command: Command, path: readonly string[]): void {
  const own = [...path, command.name()];
  requireAfterSpelling(command);
  command.exitOverride().configureOutput({
    outputError: (text, writeError) => {
      const said = text
        .trim()
        .replace(/^error: /, "")
        .replaceAll(/\s*\n\s*/g, " ");
      writeError(`latchkey: ${said}; see ${own.join(" ")} --help\n`);
    },
  });
  for (const child of command.commands) {
    settle(child, own);
  }
}

/**
 * Looks for what is missing once all that was typed is known to be right: a misspelt option is not to be called
 * missing, which commander would do.
 */
function requireAfterSpelling(command: Command): void {
  const required = command.options.filter((option) => option.mandatory);
  for (const option of required) {
    option.mandatory = false;
    option.description += " (required)";
  }
  command.hook("preAction", () => {
    const missing = required.find((option) => command.getOptionValue(option.attributeName()) === undefined);
    if (missing !== undefined) {
      command.error(`required option '${missing.flags}' not specified`);
    }
  });
}
