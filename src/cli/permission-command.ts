import { Command, Option } from "commander";
import { PermissionScope } from "../gen/latchkey/v1/access_pb.ts";
import {
  DefinePermissionResponseSchema,
  type Permission,
  PermissionSchema,
  RoleService,
} from "../gen/latchkey/v1/role_pb.ts";
import { withExample } from "./example.ts";
import { fieldsOf } from "./output.ts";
import { answerOf, print, printList } from "./print.ts";
import { openService } from "./service.ts";
import { type ServiceOptions, withServiceOptions } from "./service-options.ts";

const { method } = RoleService;

const SCOPES = {
  organization: PermissionScope.ORGANIZATION,
  platform: PermissionScope.PLATFORM,
} as const;
type ScopeName = keyof typeof SCOPES;

export function permissionCommand(): Command {
  return new Command("permission")
    .description("the catalogue of permissions, one for the whole deployment")
    .addCommand(listCommand())
    .addCommand(defineCommand());
}

function listCommand(): Command {
  const command = withServiceOptions(new Command("list"))
    .description("list the catalogue, by name")
    .action(async (options: ServiceOptions) => {
      const service = await openService(options, "platform");
      await printList(options, {
        schema: PermissionSchema,
        columns: [
          ["NAME", ({ name }) => name],
          ["SCOPE", shownScope],
          ["DESCRIPTION", ({ description }) => description],
        ],
        page: async () => {
          const { permissions } = await service.call(method.listPermissions, {});
          return { rows: permissions, nextPageToken: "" };
        },
      });
    });
  return withExample(command, "latchkey permission list");
}

function defineCommand(): Command {
  const command = withServiceOptions(new Command("define"))
    .description("add a permission to the catalogue, or describe it anew")
    .argument("<name>", "its name, such as invoices.read")
    .addOption(
      new Option("--scope <scope>", "how far it reaches")
        .choices(Object.keys(SCOPES))
        .default("organization"),
    )
    .option("--description <text>", "what it allows, for people")
    .action(
      async (
        name: string,
        options: ServiceOptions & { readonly scope: ScopeName; readonly description?: string },
      ): Promise<void> => {
        const { scope, description = "" } = options;
        const service = await openService(options, "platform");
        const answer = await service.call(method.definePermission, {
          name,
          scope: SCOPES[scope],
          description,
        });
        await print(
          options,
          answerOf(DefinePermissionResponseSchema, answer, shownPermission(answer.permission)),
        );
      },
    );
  return withExample(command, "latchkey permission define invoices.read --description 'read invoices'");
}

function shownScope({ scope }: Permission): string {
  return Object.entries(SCOPES).find(([, value]) => value === scope)?.[0] ?? "";
}

function shownPermission(permission: Permission | undefined): string {
  return permission === undefined
    ? ""
    : fieldsOf([
        ["name", permission.name],
        ["scope", shownScope(permission)],
        ["description", permission.description],
      ]);
}
