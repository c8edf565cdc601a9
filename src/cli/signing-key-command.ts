import { Command } from "commander";
import {
  RevokeSigningKeyResponseSchema,
  RotateSigningKeyResponseSchema,
  type SigningKey,
  SigningKeySchema,
  SigningKeyService,
  SigningKeyState,
} from "../gen/latchkey/v1/signing_key_pb.ts";
import { withExample } from "./example.ts";
import { fieldsOf } from "./output.ts";
import { answerOf, type ListOptions, print, printList } from "./print.ts";
import { openService } from "./service.ts";
import { limitOption, type ServiceOptions, withServiceOptions } from "./service-options.ts";
import { shownRevocation, shownTime } from "./shown.ts";

const { method } = SigningKeyService;
const ID = "3yqQh5fQkZCfTFIgQ9Wb8ZtLZ2mPZk2rXxKxq0mH1dE";

export function signingKeyCommand(): Command {
  return new Command("signing-key")
    .description("the keys that sign tokens")
    .addCommand(listCommand())
    .addCommand(rotateCommand())
    .addCommand(revokeCommand());
}

function listCommand(): Command {
  const command = withServiceOptions(new Command("list"))
    .description("list the signing keys, oldest first, those that are gone or were revoked too")
    .addOption(limitOption())
    .action(async (options: ServiceOptions & ListOptions) => {
      const service = await openService(options, "platform");
      await printList(options, {
        schema: SigningKeySchema,
        columns: [
          ["ID", ({ id }) => id],
          ["ALGORITHM", ({ algorithm }) => algorithm],
          ["STATE", shownState],
          ["SIGNS FROM", ({ activateTime }) => shownTime(activateTime) ?? ""],
          ["UNTIL", ({ retireTime }) => shownTime(retireTime) ?? ""],
          ["PUBLISHED UNTIL", ({ removeTime }) => shownTime(removeTime) ?? ""],
        ],
        page: async (page) => {
          const { signingKeys, nextPageToken } = await service.call(method.listSigningKeys, page);
          return { rows: signingKeys, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey signing-key list");
}

function rotateCommand(): Command {
  const command = withServiceOptions(new Command("rotate"))
    .description("make the signing key that signs next, once verifiers have had time to fetch it")
    .action(async (options: ServiceOptions) => {
      const service = await openService(options, "platform");
      const answer = await service.call(method.rotateSigningKey, {});
      await print(
        options,
        answerOf(RotateSigningKeyResponseSchema, answer, shownSigningKey(answer.signingKey)),
      );
    });
  return withExample(command, "latchkey signing-key rotate");
}

function revokeCommand(): Command {
  const command = withServiceOptions(new Command("revoke"))
    .description("refuse every token that a signing key has signed, from now on; another signs at once")
    .argument("<id>", "the id of the signing key: its kid")
    .option("--reason <text>", "why, for the record")
    .action(async (id: string, options: ServiceOptions & { readonly reason?: string }) => {
      const service = await openService(options, "platform");
      const answer = await service.call(method.revokeSigningKey, { id, reason: options.reason ?? "" });
      await print(
        options,
        answerOf(RevokeSigningKeyResponseSchema, answer, shownSigningKey(answer.signingKey)),
      );
    });
  return withExample(command, `latchkey signing-key revoke ${ID} --reason 'a backup was stolen'`);
}

const STATES: Readonly<Record<number, string>> = {
  [SigningKeyState.NEXT]: "next",
  [SigningKeyState.ACTIVE]: "active",
  [SigningKeyState.RETIRED]: "retired",
  [SigningKeyState.GONE]: "gone",
  [SigningKeyState.REVOKED]: "revoked",
};

function shownState({ state }: SigningKey): string {
  return STATES[state] ?? "";
}

function shownSigningKey(key: SigningKey | undefined): string {
  return key === undefined
    ? ""
    : fieldsOf([
        ["id", key.id],
        ["algorithm", key.algorithm],
        ["state", shownState(key)],
        ["published", shownTime(key.publishTime)],
        ["signs from", shownTime(key.activateTime)],
        ["signs until", shownTime(key.retireTime)],
        ["published until", shownTime(key.removeTime)],
        ["revoked", shownRevocation(key)],
      ]);
}
