import { randomUUID } from "node:crypto";
import { Command } from "commander";
import {
  CreateUserResponseSchema,
  GetUserResponseSchema,
  MembershipSchema,
  UpdateUserResponseSchema,
  type User,
  UserSchema,
  UserService,
} from "../gen/latchkey/v1/user_pb.ts";
import { withExample } from "./example.ts";
import { fieldsOf } from "./output.ts";
import { answerOf, type ListOptions, print, printList, printSecret } from "./print.ts";
import { readSecrets } from "./read-secrets.ts";
import { shownNarrowed } from "./role-command.ts";
import { openService } from "./service.ts";
import {
  limitOption,
  type ServiceOptions,
  withOrganizationOptions,
  withServiceOptions,
} from "./service-options.ts";
import { sectionsOf, shownTime } from "./shown.ts";
import { acceptCommand, changePasswordCommand, resetPasswordCommand } from "./user-password-commands.ts";
import { deleteCommand, removeCommand } from "./user-removal-commands.ts";

const { method } = UserService;
const ID = "0f9c1d52-7a61-4c8e-9a53-3f6f2f0f5a11";

export function userCommand(): Command {
  const group = new Command("user").description("the people of an organization, and their accounts");
  const commands = [
    inviteCommand(),
    getCommand(),
    listCommand(),
    updateCommand(),
    disablingCommand("disable", "refuse a user in the organization, from now on", true),
    disablingCommand("enable", "let a user in again, who then logs in anew", false),
    resetPasswordCommand(),
    removeCommand(),
    deleteCommand(),
    membershipsCommand(),
    acceptCommand(),
    changePasswordCommand(),
  ];
  return commands.reduce((whole, command) => whole.addCommand(command), group);
}

interface InviteOptions {
  readonly role: string;
  readonly name?: string;
  readonly initialPassword?: boolean;
}

function inviteCommand(): Command {
  const command = withOrganizationOptions(new Command("invite"))
    .description(
      "invite somebody into the organization; the invitation is told once, for them to accept with",
    )
    .argument("<email>", "their email address")
    .requiredOption("--role <name>", "what they are to be: the name of a role")
    .option("--name <text>", "what the organization calls them")
    .option(
      "--initial-password",
      "give them an initial password too, if they are new: it is asked for, or read from standard input",
    )
    .action(async (email: string, options: ServiceOptions & InviteOptions) => {
      const { role, name = "" } = options;
      const [password = ""] = options.initialPassword ? await readSecrets(["initial password"]) : [];
      const service = await openService(options, "organization");
      const request = { email, role, displayName: name, password, idempotencyKey: randomUUID() };
      const answer = await service.call(method.createUser, request);
      await printSecret(options, {
        ...answerOf(CreateUserResponseSchema, answer, shownUser(answer.user)),
        secret: answer.invitation,
        name: "invitation",
        use: `hand it to the person, who runs \`latchkey user accept ${answer.user?.email}\` within 7 days`,
        remedy: `take it back with \`latchkey user remove ${answer.user?.id}\` and invite again`,
      });
    });
  return withExample(command, "latchkey user invite ann@example.com --role member --name 'Ann Lee'");
}

function getCommand(): Command {
  const command = withOrganizationOptions(new Command("get"))
    .description("tell about a user of the organization")
    .argument("<id>", "the id of the user")
    .action(async (id: string, options: ServiceOptions) => {
      const service = await openService(options, "organization");
      const answer = await service.call(method.getUser, { id });
      await print(options, answerOf(GetUserResponseSchema, answer, shownUser(answer.user)));
    });
  return withExample(command, `latchkey user get ${ID}`);
}

function listCommand(): Command {
  const command = withOrganizationOptions(new Command("list"))
    .description("list the users of the organization, oldest first")
    .addOption(limitOption())
    .action(async (options: ServiceOptions & ListOptions) => {
      const service = await openService(options, "organization");
      await printList(options, {
        schema: UserSchema,
        columns: [
          ["ID", ({ id }) => id],
          ["EMAIL", ({ email }) => email],
          ["NAME", ({ displayName }) => displayName],
          ["ROLE", ({ role }) => role],
          ["STATE", shownState],
        ],
        page: async (page) => {
          const { users, nextPageToken } = await service.call(method.listUsers, page);
          return { rows: users, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey user list");
}

function updateCommand(): Command {
  const command = withOrganizationOptions(new Command("update"))
    .description("give a user of the organization another role or name")
    .argument("<id>", "the id of the user")
    .option("--role <name>", "the name of a role")
    .option("--name <text>", "what the organization calls them")
    .action(
      async (
        id: string,
        options: ServiceOptions & { readonly role?: string; readonly name?: string },
        self: Command,
      ) => {
        const { role, name } = options;
        if (role === undefined && name === undefined) {
          self.error("nothing to change was given");
        }
        await update(options, {
          id,
          ...(role !== undefined && { role }),
          ...(name !== undefined && { displayName: name }),
        });
      },
    );
  return withExample(command, `latchkey user update ${ID} --role admin`);
}

function disablingCommand(name: "disable" | "enable", description: string, disabled: boolean): Command {
  const command = withOrganizationOptions(new Command(name))
    .description(description)
    .argument("<id>", "the id of the user")
    .action(async (id: string, options: ServiceOptions) => {
      await update(options, { id, disabled });
    });
  return withExample(command, `latchkey user ${name} ${ID}`);
}

async function update(
  options: ServiceOptions,
  request: { readonly id: string; role?: string; displayName?: string; disabled?: boolean },
): Promise<void> {
  const service = await openService(options, "organization");
  const answer = await service.call(method.updateUser, request);
  const shown = sectionsOf(shownUser(answer.user), shownNarrowed(answer.narrowedApiKeys));
  await print(options, answerOf(UpdateUserResponseSchema, answer, shown));
}

function membershipsCommand(): Command {
  const command = withServiceOptions(new Command("memberships"))
    .description("list the organizations that a person belongs to or is invited into")
    .argument("[id]", "the id of the user; else whom the credential stands for")
    .addOption(limitOption())
    .action(async (id: string | undefined, options: ServiceOptions & ListOptions) => {
      const service = await openService(options, "platform");
      await printList(options, {
        schema: MembershipSchema,
        columns: [
          ["ORGANIZATION", ({ organizationId }) => organizationId],
          ["NAME", ({ organizationName }) => organizationName],
          ["ROLE", ({ role }) => role],
          ["STATE", shownState],
        ],
        page: async (page) => {
          const asked = { ...page, ...(id !== undefined && { id }) };
          const { memberships, nextPageToken } = await service.call(method.listMemberships, asked);
          return { rows: memberships, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey user memberships");
}

function shownState({
  pending,
  disabled,
}: {
  readonly pending: boolean;
  readonly disabled: boolean;
}): string {
  return [disabled ? "disabled" : "", pending ? "pending" : ""].filter(Boolean).join(", ") || "active";
}

function shownUser(user: User | undefined): string {
  return user === undefined
    ? ""
    : fieldsOf([
        ["id", user.id],
        ["email", user.email],
        ["name", user.displayName],
        ["organization", user.organizationId],
        ["role", user.role],
        ["state", shownState(user)],
        ["since", shownTime(user.createTime)],
      ]);
}
