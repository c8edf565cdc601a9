import { randomUUID } from "node:crypto";
import { Command } from "commander";
import {
  CreateOrganizationResponseSchema,
  DeleteOrganizationResponseSchema,
  GetOrganizationResponseSchema,
  type Organization,
  OrganizationSchema,
  OrganizationService,
  UpdateOrganizationResponseSchema,
} from "../gen/latchkey/v1/organization_pb.ts";
import { withExample } from "./example.ts";
import { fieldsOf } from "./output.ts";
import { answerOf, type ListOptions, print, printList } from "./print.ts";
import { openService } from "./service.ts";
import { limitOption, type ServiceOptions, withServiceOptions } from "./service-options.ts";
import { shownTime } from "./shown.ts";

const { method } = OrganizationService;
/** There may be a hundred thousand keys. */
const DELETE_MILLIS = 120_000;
const ID = "019a20ce-4b1c-75aa-8887-32c29f795e32";

export function organizationCommand(): Command {
  return new Command("org")
    .description("the organizations of the platform")
    .addCommand(createCommand())
    .addCommand(getCommand())
    .addCommand(listCommand())
    .addCommand(renameCommand())
    .addCommand(suspensionCommand("suspend", "refuse every credential of an organization, from now on", true))
    .addCommand(suspensionCommand("resume", "accept the credentials of an organization again", false))
    .addCommand(deleteCommand());
}

function createCommand(): Command {
  const command = withServiceOptions(new Command("create"))
    .description("create an organization with its built-in roles")
    .argument("<name>", "its name")
    .action(async (name: string, options: ServiceOptions) => {
      const service = await openService(options, "platform");
      const request = { name, idempotencyKey: randomUUID() };
      const answer = await service.call(method.createOrganization, request);
      await print(
        options,
        answerOf(CreateOrganizationResponseSchema, answer, shownOrganization(answer.organization)),
      );
    });
  return withExample(command, "latchkey org create 'Acme Ltd'");
}

function getCommand(): Command {
  const command = withServiceOptions(new Command("get"))
    .description("tell about an organization")
    .argument("<id>", "the id of the organization")
    .action(async (id: string, options: ServiceOptions) => {
      const service = await openService(options, "platform");
      const answer = await service.call(method.getOrganization, { id });
      await print(
        options,
        answerOf(GetOrganizationResponseSchema, answer, shownOrganization(answer.organization)),
      );
    });
  return withExample(command, `latchkey org get ${ID}`);
}

function listCommand(): Command {
  const command = withServiceOptions(new Command("list"))
    .description("list organizations, oldest first")
    .addOption(limitOption())
    .action(async (options: ServiceOptions & ListOptions) => {
      const service = await openService(options, "platform");
      await printList(options, {
        schema: OrganizationSchema,
        columns: [
          ["ID", ({ id }) => id],
          ["NAME", ({ name }) => name],
          ["STATE", shownState],
          ["CREATED", ({ createTime }) => shownTime(createTime) ?? ""],
        ],
        page: async (page) => {
          const { organizations, nextPageToken } = await service.call(method.listOrganizations, page);
          return { rows: organizations, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey org list");
}

function renameCommand(): Command {
  const command = withServiceOptions(new Command("rename"))
    .description("give an organization another name")
    .argument("<id>", "the id of the organization")
    .argument("<name>", "its new name")
    .action(async (id: string, name: string, options: ServiceOptions) => {
      const service = await openService(options, "platform");
      const answer = await service.call(method.updateOrganization, { id, name });
      await print(
        options,
        answerOf(UpdateOrganizationResponseSchema, answer, shownOrganization(answer.organization)),
      );
    });
  return withExample(command, `latchkey org rename ${ID} 'Acme Group'`);
}

function deleteCommand(): Command {
  const command = withServiceOptions(new Command("delete"))
    .description("end an organization for good, with its keys, sessions and memberships; it cannot be undone")
    .argument("<id>", "the id of the organization")
    .requiredOption("--name <name>", "its name, so that a wrong id deletes nothing")
    .action(async (id: string, options: ServiceOptions & { readonly name: string }) => {
      const service = await openService(options, "platform");
      const request = { id, name: options.name };
      const answer = await service.call(method.deleteOrganization, request, {
        timeoutMillis: DELETE_MILLIS,
      });
      const shown = fieldsOf([
        ["id", id],
        ["state", "deleted"],
        ["revoked keys", String(answer.revokedApiKeys)],
        ["removed members", String(answer.removedMembers)],
        ["ended sessions", String(answer.endedSessions)],
      ]);
      await print(options, answerOf(DeleteOrganizationResponseSchema, answer, shown));
    });
  return withExample(command, `latchkey org delete ${ID} --name 'Acme Ltd'`);
}

function suspensionCommand(name: "suspend" | "resume", description: string, suspended: boolean): Command {
  const command = withServiceOptions(new Command(name))
    .description(description)
    .argument("<id>", "the id of the organization")
    .action(async (id: string, options: ServiceOptions) => {
      const service = await openService(options, "platform");
      const answer = await service.call(method.updateOrganization, { id, suspended });
      await print(
        options,
        answerOf(UpdateOrganizationResponseSchema, answer, shownOrganization(answer.organization)),
      );
    });
  return withExample(command, `latchkey org ${name} ${ID}`);
}

function shownState({ suspended }: Organization): string {
  return suspended ? "suspended" : "active";
}

function shownOrganization(organization: Organization | undefined): string {
  return organization === undefined
    ? ""
    : fieldsOf([
        ["id", organization.id],
        ["name", organization.name],
        ["state", shownState(organization)],
        ["created", shownTime(organization.createTime)],
      ]);
}
