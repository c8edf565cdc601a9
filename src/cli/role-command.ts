import { randomUUID } from "node:crypto";
import { Command, Option } from "commander";
import type { NarrowedApiKey } from "../gen/latchkey/v1/key_pb.ts";
import {
  CreateRoleResponseSchema,
  DeleteRoleResponseSchema,
  type Role,
  RoleSchema,
  RoleService,
  UpdateRoleResponseSchema,
} from "../gen/latchkey/v1/role_pb.ts";
import { withExample } from "./example.ts";
import { fieldsOf, Table } from "./output.ts";
import { parseList } from "./parse-option.ts";
import { answerOf, type ListOptions, print, printList } from "./print.ts";
import { openService } from "./service.ts";
import { limitOption, type ServiceOptions, withOrganizationOptions } from "./service-options.ts";
import { sectionsOf } from "./shown.ts";

const { method } = RoleService;
const ID = "019a20ce-4b1c-75aa-8887-32c29f795e32";

export function roleCommand(): Command {
  return new Command("role")
    .description("the roles of an organization's people")
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(updateCommand())
    .addCommand(deleteCommand());
}

interface RoleOptions {
  readonly permission?: readonly string[];
}

const permissionOption = () =>
  new Option(
    "--permission <name>",
    "what it allows: a name, a pattern such as 'calls.*', or none; again, or with commas, for more",
  ).argParser(parseList("none"));

const permissionsOf = (permission: readonly string[]) => ({
  permissions: { values: permission.includes("none") ? [] : [...permission] },
});

function createCommand(): Command {
  const command = withOrganizationOptions(new Command("create"))
    .description("create a role")
    .argument("<name>", "its name")
    .addOption(permissionOption().makeOptionMandatory())
    .action(async (name: string, options: ServiceOptions & RoleOptions) => {
      const service = await openService(options, "organization");
      const answer = await service.call(method.createRole, {
        name,
        ...permissionsOf(options.permission ?? []),
        idempotencyKey: randomUUID(),
      });
      await print(options, answerOf(CreateRoleResponseSchema, answer, shownRole(answer.role)));
    });
  return withExample(command, "latchkey role create support --permission calls.read,auth.users.read");
}

function listCommand(): Command {
  const command = withOrganizationOptions(new Command("list"))
    .description("list roles, the built-in ones too, oldest first")
    .addOption(limitOption())
    .action(async (options: ServiceOptions & ListOptions) => {
      const service = await openService(options, "organization");
      await printList(options, {
        schema: RoleSchema,
        columns: [
          ["ID", (role) => role.id],
          ["NAME", (role) => role.name],
          ["BUILT IN", (role) => (role.builtIn ? "yes" : "no")],
          ["PERMISSIONS", (role) => role.permissions.join(" ")],
        ],
        page: async (page) => {
          const { roles, nextPageToken } = await service.call(method.listRoles, page);
          return { rows: roles, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey role list");
}

function updateCommand(): Command {
  const command = withOrganizationOptions(new Command("update"))
    .description("change a role; what is not given stays as it is. Tells which API keys may do less now")
    .argument("<id>", "the id of the role")
    .option("--name <name>", "its name")
    .addOption(permissionOption())
    .action(
      async (
        id: string,
        options: ServiceOptions & RoleOptions & { readonly name?: string },
        self: Command,
      ) => {
        const { name, permission } = options;
        if (name === undefined && permission === undefined) {
          self.error("nothing to change was given");
        }
        const service = await openService(options, "organization");
        const answer = await service.call(method.updateRole, {
          id,
          ...(name !== undefined && { name }),
          ...(permission && permissionsOf(permission)),
        });
        const shown = sectionsOf(shownRole(answer.role), shownNarrowed(answer.narrowedApiKeys));
        await print(options, answerOf(UpdateRoleResponseSchema, answer, shown));
      },
    );
  return withExample(command, `latchkey role update ${ID} --permission calls.read`);
}

function deleteCommand(): Command {
  const command = withOrganizationOptions(new Command("delete"))
    .description("delete a role that nobody has any more")
    .argument("<id>", "the id of the role")
    .action(async (id: string, options: ServiceOptions) => {
      const service = await openService(options, "organization");
      const answer = await service.call(method.deleteRole, { id });
      await print(options, answerOf(DeleteRoleResponseSchema, answer, "deleted\n"));
    });
  return withExample(command, `latchkey role delete ${ID}`);
}

function shownRole(role: Role | undefined): string {
  return role === undefined
    ? ""
    : fieldsOf([
        ["id", role.id],
        ["name", role.name],
        ["organization", role.organizationId],
        ["permissions", role.permissions.join(" ") || "none"],
        ["built in", role.builtIn ? "yes" : "no"],
      ]);
}

export function shownNarrowed(keys: readonly NarrowedApiKey[]): string {
  const rows = keys.map(({ id, name, lostPermissions }) => [id, name, lostPermissions.join(" ")]);
  return rows.length === 0 ? "" : new Table(["NARROWED KEY", "NAME", "HAS LOST"]).add(rows);
}
