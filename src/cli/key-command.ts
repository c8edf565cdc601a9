import { randomUUID } from "node:crypto";
import { Command, Option } from "commander";
import {
  type ApiKey,
  ApiKeySchema,
  ApiKeyService,
  ApiKeyState,
  CancelRotationResponseSchema,
  CreateApiKeyResponseSchema,
  FinishRotationResponseSchema,
  GetApiKeyResponseSchema,
  GetApiKeyUsageResponseSchema,
  RevokeApiKeyResponseSchema,
  RevokeOwnApiKeyResponseSchema,
  RotateApiKeyResponseSchema,
  UpdateApiKeyResponseSchema,
} from "../gen/latchkey/v1/api_key_pb.ts";
import { CommandError } from "./command-error.ts";
import { withExample } from "./example.ts";
import { importCommand } from "./import-command.ts";
import {
  type ApiKeyOptions,
  cidrOption,
  createApiKeyFields,
  expiresOption,
  metadataOption,
  permissionOption,
  rateLimitOption,
  updateApiKeyFields,
} from "./key-options.ts";
import { fieldsOf } from "./output.ts";
import { answerOf, type ListOptions, print, printList, printSecret } from "./print.ts";
import { readInput } from "./read-input.ts";
import { type RotatingKey, rotationCommands } from "./rotation-commands.ts";
import { openService, openServiceAsNobody } from "./service.ts";
import {
  limitOption,
  type ServiceOptions,
  withAddressOptions,
  withOrganizationOptions,
} from "./service-options.ts";
import { sectionsOf, shownRevocation, shownSlots, shownState, shownTime, shownUsage } from "./shown.ts";

const { method } = ApiKeyService;
const HEADER = "X-API-Key";
const ID = "019a20ce-4b1c-75aa-8887-32c29f795e32";

const STATES = {
  active: ApiKeyState.ACTIVE,
  expired: ApiKeyState.EXPIRED,
  revoked: ApiKeyState.REVOKED,
} as const;

const ROTATION: RotatingKey = {
  group: "key",
  what: "an API key",
  scope: "organization",
  async rotate(service, request) {
    const answer = await service.call(method.rotateApiKey, request);
    const remedy = `take it back with \`latchkey key cancel-rotation ${request.id}\``;
    return {
      ...answerOf(RotateApiKeyResponseSchema, answer, shownApiKey(answer.apiKey)),
      secret: answer.secret,
      header: HEADER,
      remedy,
    };
  },
  async slots(service, id) {
    return (await service.call(method.getApiKey, { id })).apiKey?.slots ?? [];
  },
  async cancel(service, id) {
    const answer = await service.call(method.cancelRotation, { id });
    return answerOf(CancelRotationResponseSchema, answer, shownApiKey(answer.apiKey));
  },
  async finish(service, id) {
    const answer = await service.call(method.finishRotation, { id });
    return answerOf(FinishRotationResponseSchema, answer, shownApiKey(answer.apiKey));
  },
  async usage(service, request) {
    const answer = await service.call(method.getApiKeyUsage, request);
    const shown = sectionsOf(shownUsage(answer.days), shownSlots(answer.slots));
    return answerOf(GetApiKeyUsageResponseSchema, answer, shown);
  },
};

export function keyCommand(): Command {
  const group = new Command("key").description("the API keys of an organization");
  const commands = [
    createCommand(),
    getCommand(),
    listCommand(),
    updateCommand(),
    ...rotationCommands(ROTATION),
    revokeCommand(),
    revokeOwnCommand(),
    importCommand(),
  ];
  return commands.reduce((whole, command) => whole.addCommand(command), group);
}

function createCommand(): Command {
  const command = withOrganizationOptions(new Command("create"))
    .description("create an API key; its secret is told once")
    .argument("<name>", "a name for people to read")
    .addOption(permissionOption().makeOptionMandatory())
    .addOption(expiresOption())
    .addOption(cidrOption())
    .addOption(rateLimitOption())
    .addOption(metadataOption())
    .option("--environment <label>", "a label that its text carries, such as test")
    .action(
      async (
        name: string,
        options: ServiceOptions & ApiKeyOptions & { readonly environment?: string },
      ): Promise<void> => {
        const service = await openService(options, "organization");
        const answer = await service.call(method.createApiKey, {
          name,
          environment: options.environment ?? "",
          ...createApiKeyFields(options),
          idempotencyKey: randomUUID(),
        });
        await printSecret(options, {
          ...answerOf(CreateApiKeyResponseSchema, answer, shownApiKey(answer.apiKey)),
          secret: answer.secret,
          header: HEADER,
          remedy: `revoke it with \`latchkey key revoke ${answer.apiKey?.id}\` and create another`,
        });
      },
    );
  return withExample(
    command,
    "latchkey key create billing --permission 'calls.*' --expires 90d --rate-limit 100/60s",
  );
}

function getCommand(): Command {
  const command = withOrganizationOptions(new Command("get"))
    .description("tell all about an API key: both of its secrets too, by their beginnings and last use")
    .argument("<id>", "the id of the key")
    .action(async (id: string, options: ServiceOptions) => {
      const service = await openService(options, "organization");
      const answer = await service.call(method.getApiKey, { id });
      await print(options, answerOf(GetApiKeyResponseSchema, answer, shownApiKey(answer.apiKey)));
    });
  return withExample(command, `latchkey key get ${ID}`);
}

interface FilterOptions {
  readonly state?: keyof typeof STATES;
  readonly owner?: string;
  readonly name?: string;
  readonly environment?: string;
}

function listCommand(): Command {
  const command = withOrganizationOptions(new Command("list"))
    .description("list API keys, oldest first")
    .addOption(new Option("--state <state>", "only keys in this state").choices(Object.keys(STATES)))
    .option("--owner <id>", "only keys that belong to this user or internal key")
    .option("--name <text>", "only keys whose name holds this text")
    .option("--environment <label>", "only keys with this environment label")
    .addOption(limitOption())
    .action(async (options: ServiceOptions & ListOptions & FilterOptions) => {
      const { state, owner = "", name = "", environment = "" } = options;
      const service = await openService(options, "organization");
      await printList(options, {
        schema: ApiKeySchema,
        columns: [
          ["ID", (key) => key.id],
          ["NAME", (key) => key.name],
          ["STATE", shownState],
          ["KEY", (key) => key.displayPrefix],
          ["EXPIRES", (key) => shownTime(key.expireTime) ?? "never"],
          ["OWNER", (key) => key.ownerId],
        ],
        page: async (page) => {
          const { apiKeys, nextPageToken } = await service.call(method.listApiKeys, {
            ...page,
            ...(state && { state: STATES[state] }),
            ownerId: owner,
            nameContains: name,
            environment,
          });
          return { rows: apiKeys, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey key list --state active --name billing");
}

function updateCommand(): Command {
  const command = withOrganizationOptions(new Command("update"))
    .description("change an API key; what is not given stays as it is")
    .argument("<id>", "the id of the key")
    .option("--name <name>", "a name for people to read")
    .addOption(permissionOption())
    .addOption(expiresOption())
    .addOption(cidrOption())
    .addOption(rateLimitOption())
    .addOption(metadataOption())
    .action(
      async (
        id: string,
        options: ServiceOptions & ApiKeyOptions & { readonly name?: string },
        self: Command,
      ): Promise<void> => {
        const { name } = options;
        const change = { ...(name !== undefined && { name }), ...updateApiKeyFields(options) };
        if (Object.keys(change).length === 0) {
          self.error("nothing to change was given");
        }
        const service = await openService(options, "organization");
        const answer = await service.call(method.updateApiKey, { id, ...change });
        await print(options, answerOf(UpdateApiKeyResponseSchema, answer, shownApiKey(answer.apiKey)));
      },
    );
  return withExample(command, `latchkey key update ${ID} --expires 2027-01-31 --cidr 203.0.113.0/24`);
}

function revokeCommand(): Command {
  const command = withOrganizationOptions(new Command("revoke"))
    .description("revoke an API key for good")
    .argument("<id>", "the id of the key")
    .option("--reason <text>", "why, for the record")
    .action(async (id: string, options: ServiceOptions & { readonly reason?: string }) => {
      const service = await openService(options, "organization");
      const answer = await service.call(method.revokeApiKey, { id, reason: options.reason ?? "" });
      await print(options, answerOf(RevokeApiKeyResponseSchema, answer, shownApiKey(answer.apiKey)));
    });
  return withExample(command, `latchkey key revoke ${ID} --reason 'left in a public repository'`);
}

function revokeOwnCommand(): Command {
  const command = withAddressOptions(new Command("revoke-own"))
    .description("revoke the API key whose secret comes on standard input, such as one that was found")
    .option("--reason <text>", "why, for the record")
    .action(async (options: ServiceOptions & { readonly reason?: string }) => {
      const apiKey = (await readInput()).trim();
      if (apiKey === "") {
        throw new CommandError("standard input holds no key");
      }
      const service = await openServiceAsNobody(options);
      const answer = await service.call(method.revokeOwnApiKey, { apiKey, reason: options.reason ?? "" });
      await print(options, answerOf(RevokeOwnApiKeyResponseSchema, answer, "revoked\n"));
    });
  return withExample(command, "latchkey key revoke-own --reason 'found in a log' < leaked-key.txt");
}

function shownApiKey(key: ApiKey | undefined): string {
  if (key === undefined) {
    return "";
  }
  const { rateLimit } = key;
  return sectionsOf(
    fieldsOf([
      ["id", key.id],
      ["name", key.name],
      ["state", shownState(key)],
      ["organization", key.organizationId],
      ["permissions", key.permissions.join(" ")],
      ["key", key.displayPrefix],
      ["environment", key.environment],
      ["addresses", key.allowedCidrs.join(" ") || "any"],
      ["rate limit", rateLimit ? `${rateLimit.requests} in ${rateLimit.windowSeconds} s` : "none"],
      ["owner", key.ownerId],
      ["creator", key.creatorId],
      ["created", shownTime(key.createTime)],
      ["expires", shownTime(key.expireTime) ?? "never"],
      ["revoked", shownRevocation(key)],
      ["imported", key.imported ? "yes" : ""],
      ...Object.entries(key.metadata)
        .sort()
        .map(([name, value]) => [`metadata ${name}`, value] as const),
    ]),
    shownSlots(key.slots),
  );
}
