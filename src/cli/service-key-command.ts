import { randomUUID } from "node:crypto";
import { Command } from "commander";
import {
  CancelServiceKeyRotationResponseSchema,
  CreateServiceKeyResponseSchema,
  FinishServiceKeyRotationResponseSchema,
  GetServiceKeyResponseSchema,
  GetServiceKeyUsageResponseSchema,
  RevokeServiceKeyResponseSchema,
  RotateServiceKeyResponseSchema,
  type ServiceKey,
  ServiceKeySchema,
  ServiceKeyService,
  UpdateServiceKeyResponseSchema,
} from "../gen/latchkey/v1/service_key_pb.ts";
import { withExample } from "./example.ts";
import {
  cidrOption,
  createFields,
  expiresOption,
  type KeyOptions,
  permissionOption,
  updateFields,
} from "./key-options.ts";
import { fieldsOf } from "./output.ts";
import { answerOf, type ListOptions, print, printList, printSecret } from "./print.ts";
import { type RotatingKey, rotationCommands } from "./rotation-commands.ts";
import { openService } from "./service.ts";
import { limitOption, type ServiceOptions, withServiceOptions } from "./service-options.ts";
import { sectionsOf, shownRevocation, shownSlots, shownState, shownTime, shownUsage } from "./shown.ts";

const { method } = ServiceKeyService;
const HEADER = "X-Internal-Key";
const ID = "019a20ce-4b1c-75aa-8887-32c29f795e32";

const ROTATION: RotatingKey = {
  group: "service-key",
  what: "an internal key",
  scope: "platform",
  async rotate(service, request) {
    const answer = await service.call(method.rotateServiceKey, request);
    return {
      ...answerOf(RotateServiceKeyResponseSchema, answer, shownServiceKey(answer.serviceKey)),
      secret: answer.secret,
      header: HEADER,
      remedy: `take it back with \`latchkey service-key cancel-rotation ${request.id}\``,
    };
  },
  async slots(service, id) {
    return (await service.call(method.getServiceKey, { id })).serviceKey?.slots ?? [];
  },
  async cancel(service, id) {
    const answer = await service.call(method.cancelServiceKeyRotation, { id });
    return answerOf(CancelServiceKeyRotationResponseSchema, answer, shownServiceKey(answer.serviceKey));
  },
  async finish(service, id) {
    const answer = await service.call(method.finishServiceKeyRotation, { id });
    return answerOf(FinishServiceKeyRotationResponseSchema, answer, shownServiceKey(answer.serviceKey));
  },
  async usage(service, request) {
    const answer = await service.call(method.getServiceKeyUsage, request);
    const shown = sectionsOf(shownUsage(answer.days), shownSlots(answer.slots));
    return answerOf(GetServiceKeyUsageResponseSchema, answer, shown);
  },
};

export function serviceKeyCommand(): Command {
  const group = new Command("service-key").description("the internal keys of the platform's own services");
  const commands = [
    createCommand(),
    getCommand(),
    listCommand(),
    updateCommand(),
    ...rotationCommands(ROTATION),
    revokeCommand(),
  ];
  return commands.reduce((whole, command) => whole.addCommand(command), group);
}

function createCommand(): Command {
  const command = withServiceOptions(new Command("create"))
    .description("create an internal key; its secret is told once")
    .argument("<name>", "the service that will call with it")
    // The API takes none for all: what opens everything is to be said here.
    .addOption(permissionOption().makeOptionMandatory())
    .addOption(expiresOption())
    .addOption(cidrOption())
    .action(async (name: string, options: ServiceOptions & KeyOptions) => {
      const service = await openService(options, "platform");
      const answer = await service.call(method.createServiceKey, {
        name,
        ...createFields(options),
        idempotencyKey: randomUUID(),
      });
      await printSecret(options, {
        ...answerOf(CreateServiceKeyResponseSchema, answer, shownServiceKey(answer.serviceKey)),
        secret: answer.secret,
        header: HEADER,
        remedy: `revoke it with \`latchkey service-key revoke ${answer.serviceKey?.id}\` and create another`,
      });
    });
  return withExample(command, "latchkey service-key create billing --permission auth.authenticate");
}

function getCommand(): Command {
  const command = withServiceOptions(new Command("get"))
    .description("tell all about an internal key: both of its secrets too, by their beginnings and last use")
    .argument("<id>", "the id of the key")
    .action(async (id: string, options: ServiceOptions) => {
      const service = await openService(options, "platform");
      const answer = await service.call(method.getServiceKey, { id });
      await print(options, answerOf(GetServiceKeyResponseSchema, answer, shownServiceKey(answer.serviceKey)));
    });
  return withExample(command, `latchkey service-key get ${ID}`);
}

function listCommand(): Command {
  const command = withServiceOptions(new Command("list"))
    .description("list internal keys, oldest first")
    .addOption(limitOption())
    .action(async (options: ServiceOptions & ListOptions) => {
      const service = await openService(options, "platform");
      await printList(options, {
        schema: ServiceKeySchema,
        columns: [
          ["ID", (key) => key.id],
          ["NAME", (key) => key.name],
          ["STATE", shownState],
          ["KEY", (key) => key.displayPrefix],
          ["EXPIRES", (key) => shownTime(key.expireTime) ?? "never"],
          ["PERMISSIONS", (key) => key.permissions.join(" ")],
        ],
        page: async (page) => {
          const { serviceKeys, nextPageToken } = await service.call(method.listServiceKeys, page);
          return { rows: serviceKeys, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey service-key list");
}

function updateCommand(): Command {
  const command = withServiceOptions(new Command("update"))
    .description("change an internal key; what is not given stays as it is")
    .argument("<id>", "the id of the key")
    .addOption(permissionOption())
    .addOption(expiresOption())
    .addOption(cidrOption())
    .action(async (id: string, options: ServiceOptions & KeyOptions, self: Command) => {
      const change = updateFields(options);
      if (Object.keys(change).length === 0) {
        self.error("nothing to change was given");
      }
      const service = await openService(options, "platform");
      const answer = await service.call(method.updateServiceKey, { id, ...change });
      await print(
        options,
        answerOf(UpdateServiceKeyResponseSchema, answer, shownServiceKey(answer.serviceKey)),
      );
    });
  return withExample(command, `latchkey service-key update ${ID} --cidr 10.0.0.0/8`);
}

function revokeCommand(): Command {
  const command = withServiceOptions(new Command("revoke"))
    .description("revoke an internal key for good, and with it the API keys that were created with it")
    .argument("<id>", "the id of the key")
    .option("--reason <text>", "why, for the record")
    .action(async (id: string, options: ServiceOptions & { readonly reason?: string }) => {
      const service = await openService(options, "platform");
      const answer = await service.call(method.revokeServiceKey, { id, reason: options.reason ?? "" });
      await print(
        options,
        answerOf(RevokeServiceKeyResponseSchema, answer, shownServiceKey(answer.serviceKey)),
      );
    });
  return withExample(command, `latchkey service-key revoke ${ID} --reason 'the service is gone'`);
}

function shownServiceKey(key: ServiceKey | undefined): string {
  if (key === undefined) {
    return "";
  }
  return sectionsOf(
    fieldsOf([
      ["id", key.id],
      ["name", key.name],
      ["state", shownState(key)],
      ["permissions", key.permissions.join(" ")],
      ["key", key.displayPrefix],
      ["addresses", key.allowedCidrs.join(" ") || "any"],
      ["creator", key.creatorId],
      ["created", shownTime(key.createTime)],
      ["expires", shownTime(key.expireTime) ?? "never"],
      ["revoked", shownRevocation(key)],
    ]),
    shownSlots(key.slots),
  );
}
