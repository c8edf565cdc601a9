import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema, timestampDate } from "@bufbuild/protobuf/wkt";
import { Command, Option } from "commander";
import type { KeySlot } from "../gen/latchkey/v1/key_pb.ts";
import { CommandError } from "./command-error.ts";
import { withExample } from "./example.ts";
import { note } from "./output.ts";
import { parseCount, parseDuration } from "./parse-option.ts";
import { type Answer, print, printSecret, type SecretAnswer } from "./print.ts";
import { openService, type Scope, type Service } from "./service.ts";
import { type ServiceOptions, withOrganizationOptions, withServiceOptions } from "./service-options.ts";
import { shownUse } from "./shown.ts";

const ID = "019a20ce-4b1c-75aa-8887-32c29f795e32";

/** A kind of key that has two places for a secret. */
export interface RotatingKey {
  /** Of which its commands are: `latchkey key …`. */
  readonly group: string;
  /** For people: `an API key`. */
  readonly what: string;
  readonly scope: Scope;
  readonly rotate: (service: Service, request: { id: string; overlap: Duration }) => Promise<SecretAnswer>;
  readonly slots: (service: Service, id: string) => Promise<readonly KeySlot[]>;
  readonly cancel: (service: Service, id: string) => Promise<Answer>;
  readonly finish: (service: Service, id: string) => Promise<Answer>;
  readonly usage: (service: Service, request: { id: string; days: number }) => Promise<Answer>;
}

/** The commands by which a key gets another secret without an interruption. */
export function rotationCommands(kind: RotatingKey): Command[] {
  return [rotateCommand(kind), cancelCommand(kind), finishCommand(kind), usageCommand(kind)];
}

function idCommand({ what, scope }: RotatingKey, name: string, description: string): Command {
  const command = new Command(name).description(description).argument("<id>", `the id of ${what}`);
  return scope === "organization" ? withOrganizationOptions(command) : withServiceOptions(command);
}

function rotateCommand(kind: RotatingKey): Command {
  const { group, what, scope } = kind;
  const command = idCommand(
    kind,
    "rotate",
    `give ${what} a second secret; the old one works until the overlap ends`,
  )
    .addOption(
      new Option("--overlap <time>", "how long the old secret goes on working: 24h; 0 ends it now")
        .argParser(parseDuration)
        .makeOptionMandatory(),
    )
    .action(async (id: string, options: ServiceOptions & { readonly overlap: number }) => {
      const service = await openService(options, scope);
      const overlap = create(DurationSchema, { seconds: BigInt(options.overlap) });
      await printSecret(options, await kind.rotate(service, { id, overlap }));
      if (options.overlap > 0) {
        note(
          `\`latchkey ${group} get\` tells when each secret was last used, \`finish-rotation\` ends the old one`,
        );
      }
    });
  return withExample(command, `latchkey ${group} rotate ${ID} --overlap 24h`);
}

function cancelCommand(kind: RotatingKey): Command {
  const command = idCommand(
    kind,
    "cancel-rotation",
    "take the new secret back; the old one goes on as before",
  ).action(async (id: string, options: ServiceOptions) => {
    const service = await openService(options, kind.scope);
    await print(options, await kind.cancel(service, id));
  });
  return withExample(command, `latchkey ${kind.group} cancel-rotation ${ID}`);
}

function finishCommand(kind: RotatingKey): Command {
  const command = idCommand(
    kind,
    "finish-rotation",
    "end the old secret now, unless it has been used since the rotation",
  )
    .option("--yes", "also where the old secret has been used since the rotation")
    .action(async (id: string, options: ServiceOptions & { readonly yes?: boolean }) => {
      const service = await openService(options, kind.scope);
      const [current, old] = await kind.slots(service, id);
      // Where there is no old one, the service says so.
      if (current !== undefined && old !== undefined) {
        note(`the old secret, ${old.displayPrefix}…, was last used: ${shownUse(old)}`);
        if (isUsedSince(old, current) && !options.yes) {
          throw new CommandError(
            `somebody has used the old secret since the rotation, and would be refused from now on; --yes ends it all the same`,
          );
        }
      }
      await print(options, await kind.finish(service, id));
    });
  return withExample(command, `latchkey ${kind.group} finish-rotation ${ID}`);
}

function isUsedSince(old: KeySlot, current: KeySlot): boolean {
  const [use, rotation] = [old.lastUseTime, current.createTime].map((time) => time && timestampDate(time));
  // Where it is not known when the rotation was, any use counts.
  return use !== undefined && (rotation === undefined || use >= rotation);
}

function usageCommand(kind: RotatingKey): Command {
  const command = idCommand(kind, "usage", `tell how often ${kind.what} was used, by day and by secret`)
    .addOption(
      new Option("--days <count>", "how many days, today included").argParser(parseCount).default(30),
    )
    .action(async (id: string, options: ServiceOptions & { readonly days: number }) => {
      const service = await openService(options, kind.scope);
      await print(options, await kind.usage(service, { id, days: options.days }));
    });
  return withExample(command, `latchkey ${kind.group} usage ${ID} --days 7`);
}
