import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Command, Option } from "commander";
import {
  AuditActorTypeSchema,
  AuditCheckpointSchema,
  type AuditEvent,
  AuditEventSchema,
  type AuditFault,
  AuditFaultKindSchema,
  AuditService,
  type VerifyAuditLogResponse,
  VerifyAuditLogResponseSchema,
} from "../gen/latchkey/v1/audit_pb.ts";
import { CommandError } from "./command-error.ts";
import { withExample } from "./example.ts";
import { fieldsOf } from "./output.ts";
import { parseMoment } from "./parse-option.ts";
import { answerOf, type ListOptions, print, printList } from "./print.ts";
import { readTextFile } from "./read-input.ts";
import { openService } from "./service.ts";
import { limitOption, type ServiceOptions, withOrganizationOptions } from "./service-options.ts";
import { shownTime } from "./shown.ts";

const { method } = AuditService;

export function auditCommand(): Command {
  return new Command("audit")
    .description("the record of what happened")
    .addCommand(listCommand())
    .addCommand(verifyCommand())
    .addCommand(checkpointsCommand());
}

interface RecordOptions extends ServiceOptions {
  readonly record?: string;
}

const recordOption = () =>
  new Option(
    "--record <whose>",
    "another record, for whoever reads the platform's: platform, or the id of an organization, be it deleted",
  );

const recordOf = ({ record }: RecordOptions) => (record === undefined ? {} : { record });

/** A record that is named takes the place of the organization's. */
const opened = (options: RecordOptions) =>
  openService(options, options.record === undefined ? "organization" : "platform");

interface FilterOptions extends RecordOptions, ListOptions {
  readonly since?: Date;
  readonly until?: Date;
  readonly actor?: string;
  readonly action?: string;
  readonly target?: string;
}

function listCommand(): Command {
  const command = withOrganizationOptions(new Command("list"))
    .description("list events, newest first: changes, and calls that were refused")
    .addOption(recordOption())
    .addOption(
      new Option(
        "--since <when>",
        "only what was then or later: 2026-01-31 or 2026-01-31T10:00:00Z",
      ).argParser(parseMoment),
    )
    .addOption(
      new Option("--until <when>", "only what was before: 2026-01-31 or 2026-01-31T10:00:00Z").argParser(
        parseMoment,
      ),
    )
    .option("--actor <id>", "only what they did, or was done in their name")
    .option("--action <prefix>", "only actions that begin so, such as api_key.")
    .option("--target <id>", "only what was done to this")
    .addOption(limitOption())
    .action(async (options: FilterOptions) => {
      const service = await opened(options);
      const { since, until, actor = "", action = "", target = "" } = options;
      const filter = {
        ...recordOf(options),
        ...(since && { startTime: timestampFromDate(since) }),
        ...(until && { endTime: timestampFromDate(until) }),
        actorId: actor,
        actionPrefix: action,
        targetId: target,
      };
      await printList(options, {
        schema: AuditEventSchema,
        columns: [
          ["TIME", ({ occurTime }) => shownTime(occurTime) ?? ""],
          ["ACTION", (event) => event.action],
          ["ACTOR", shownActor],
          ["TARGET", ({ targetId }) => targetId],
          ["FROM", ({ sourceAddress }) => sourceAddress],
          ["WHAT", shownChange],
        ],
        page: async (page) => {
          const { events, nextPageToken } = await service.call(method.listAuditEvents, {
            ...filter,
            ...page,
          });
          return { rows: events, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey audit list --action api_key. --since 2026-01-31");
}

interface VerifyOptions extends RecordOptions {
  readonly checkpoint?: string;
}

function verifyCommand(): Command {
  const command = withOrganizationOptions(new Command("verify"))
    .description("verify the record, from its first event to its last; fails with the first fault")
    .addOption(recordOption())
    .option(
      "--checkpoint <file>",
      "a file that holds a checkpoint that was kept elsewhere: its jws; - for standard input",
    )
    .action(async (options: VerifyOptions) => {
      const path = options.checkpoint;
      const checkpoint = path === undefined ? "" : (await readTextFile(path)).trim();
      const service = await opened(options);
      let answer = await service.call(method.verifyAuditLog, { ...recordOf(options), checkpoint });
      while (answer.nextPageToken !== "") {
        const { nextPageToken: pageToken } = answer;
        answer = await service.call(method.verifyAuditLog, { ...recordOf(options), pageToken });
      }
      if (answer.fault !== undefined) {
        throw new CommandError(`the record does not hold: ${shownFault(answer.fault)}`);
      }
      await print(options, answerOf(VerifyAuditLogResponseSchema, answer, shownVerification(answer)));
    });
  return withExample(command, "latchkey audit verify --record platform");
}

function checkpointsCommand(): Command {
  const command = withOrganizationOptions(new Command("checkpoints"))
    .description("list checkpoints, newest first, to keep them elsewhere")
    .addOption(recordOption())
    .addOption(limitOption())
    .action(async (options: RecordOptions & ListOptions) => {
      const service = await opened(options);
      await printList(options, {
        schema: AuditCheckpointSchema,
        columns: [
          ["TIME", ({ createTime }) => shownTime(createTime) ?? ""],
          ["SEQUENCE", ({ sequence }) => String(sequence)],
          ["CHECKPOINT", ({ jws }) => jws],
        ],
        page: async (page) => {
          const request = { ...recordOf(options), ...page };
          const { checkpoints, nextPageToken } = await service.call(method.listAuditCheckpoints, request);
          return { rows: checkpoints, nextPageToken };
        },
      });
    });
  return withExample(command, "latchkey audit checkpoints --limit 1");
}

function shownActor({ actorType, actorId, onBehalfOf }: AuditEvent): string {
  const type = AuditActorTypeSchema.value[actorType]?.localName.toLowerCase();
  return [type, actorId, onBehalfOf && `for ${onBehalfOf}`].filter(Boolean).join(" ");
}

function shownChange({ before, after, detail }: AuditEvent): string {
  const parts = { ...(before && { before }), ...(after && { after }), ...detail };
  return Object.keys(parts).length === 0 ? "" : JSON.stringify(parts);
}

function shownFault({ kind, sequence, eventId }: AuditFault): string {
  const name = AuditFaultKindSchema.value[kind]?.localName ?? String(kind);
  return [name, sequence !== 0n && `at ${sequence}`, eventId && `of event ${eventId}`]
    .filter(Boolean)
    .join(" ");
}

function shownVerification(answer: VerifyAuditLogResponse): string {
  const { oldestUnsealedTime } = answer;
  return fieldsOf([
    ["verified events", String(answer.verifiedEvents)],
    ["verified checkpoints", String(answer.verifiedCheckpoints)],
    ["not sealed yet", String(answer.unsealedEvents)],
    ["since", shownTime(oldestUnsealedTime)],
  ]);
}
