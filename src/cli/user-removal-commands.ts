import { Command } from "commander";
import {
  DeleteUserResponseSchema,
  RemoveMembershipResponseSchema,
  UserService,
} from "../gen/latchkey/v1/user_pb.ts";
import { withExample } from "./example.ts";
import { Table } from "./output.ts";
import { answerOf, print } from "./print.ts";
import { openService } from "./service.ts";
import { type ServiceOptions, withOrganizationOptions } from "./service-options.ts";
import { sectionsOf } from "./shown.ts";

const { method } = UserService;
const ID = "0f9c1d52-7a61-4c8e-9a53-3f6f2f0f5a11";

interface RemovalOptions extends ServiceOptions {
  readonly newOwner?: string;
}

const withNewOwner = (command: Command) =>
  command
    .argument("<id>", "the id of the user")
    .option("--new-owner <id>", "the user to whom their API keys go; else they are revoked");

export function removeCommand(): Command {
  const command = withNewOwner(withOrganizationOptions(new Command("remove")))
    .description("remove a user from the organization; their account stays")
    .action(async (id: string, options: RemovalOptions) => {
      const service = await openService(options, "organization");
      const request = { id, newOwnerId: options.newOwner ?? "" };
      const answer = await service.call(method.removeMembership, request);
      await print(options, answerOf(RemoveMembershipResponseSchema, answer, shownEnd("removed", answer)));
    });
  return withExample(command, `latchkey user remove ${ID}`);
}

export function deleteCommand(): Command {
  const command = withNewOwner(withOrganizationOptions(new Command("delete")))
    .description("delete a user's account for good, in every organization, and all that is personal of it")
    .action(async (id: string, options: RemovalOptions) => {
      // The account is one for all organizations: it is looked for in one only where that is named.
      const service = await openService(options, options.org === undefined ? "platform" : "organization");
      const request = { id, newOwnerId: options.newOwner ?? "" };
      const answer = await service.call(method.deleteUser, request);
      await print(options, answerOf(DeleteUserResponseSchema, answer, shownEnd("deleted", answer)));
    });
  return withExample(command, `latchkey user delete ${ID}`);
}

interface EndedKeys {
  readonly handedOverApiKeyIds: readonly string[];
  readonly revokedApiKeyIds: readonly string[];
  readonly knownApiKeyIds: readonly string[];
}

function shownEnd(done: string, answer: EndedKeys): string {
  const rows = [
    ...answer.handedOverApiKeyIds.map((id) => [id, "handed over"]),
    ...answer.revokedApiKeyIds.map((id) => [id, "revoked"]),
    ...answer.knownApiKeyIds.map((id) => [id, "known to them: rotate it"]),
  ];
  return sectionsOf(
    `${done}\n`,
    rows.length === 0 ? "" : new Table(["API KEY", "WHAT BECAME OF IT"]).add(rows),
  );
}
