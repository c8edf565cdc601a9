import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Command } from "commander";
import {
  RevokeTokenResponseSchema,
  type Session,
  SessionKind,
  SessionSchema,
  TokenService,
} from "../gen/latchkey/v1/token_pb.ts";
import { withExample } from "./example.ts";
import { answerOf, type ListOptions, print, printList } from "./print.ts";
import { openService } from "./service.ts";
import { limitOption, type ServiceOptions, withOrganizationOptions } from "./service-options.ts";
import { shownTime } from "./shown.ts";

const { method } = TokenService;
const ID = "019a20ce-4b1c-75aa-8887-32c29f795e32";

interface UserOption {
  readonly user?: string;
}

export function sessionCommand(): Command {
  return new Command("session")
    .description("the sessions of an organization's people, or one's own")
    .addCommand(listCommand())
    .addCommand(revokeCommand());
}

function listCommand(): Command {
  const command = withOrganizationOptions(new Command("list"))
    .description("list the sessions that have not ended, oldest first")
    .option("--user <id>", "only those of this user")
    .addOption(limitOption())
    .action(async (options: ServiceOptions & ListOptions & UserOption) => {
      const service = await openService(options, "organization");
      await printList(options, {
        schema: SessionSchema,
        columns: [
          ["ID", ({ id }) => id],
          ["USER", ({ userId }) => userId],
          ["KIND", shownKind],
          ["BEGAN", ({ createTime }) => shownTime(createTime) ?? ""],
          ["REFRESHED", ({ refreshTime }) => shownTime(refreshTime) ?? "never"],
          ["ENDS", (session) => shownTime(endOf(session)) ?? ""],
          ["FROM", ({ clientAddress }) => clientAddress],
        ],
        page: async (page) => {
          const request = { ...page, userId: options.user ?? "" };
          const { sessions, nextPageToken } = await service.call(method.listSessions, request);
          return { rows: sessions, nextPageToken };
        },
      });
    });
  return withExample(command, `latchkey session list --user ${ID}`);
}

function revokeCommand(): Command {
  const command = withOrganizationOptions(new Command("revoke"))
    .description("end a session, or all of a user's, with all their tokens, from now on")
    .argument("[id]", "the id of the session")
    .option("--user <id>", "end all sessions of this user")
    .action(async (id: string | undefined, options: ServiceOptions & UserOption, self: Command) => {
      const { user } = options;
      if ((id === undefined) === (user === undefined)) {
        self.error("give the id of a session, or --user");
      }
      const service = await openService(options, "organization");
      const target =
        user === undefined
          ? ({ case: "sessionId", value: id ?? "" } as const)
          : ({ case: "userId", value: user } as const);
      const answer = await service.call(method.revokeToken, { target });
      await print(options, answerOf(RevokeTokenResponseSchema, answer, "ended\n"));
    });
  return withExample(command, `latchkey session revoke ${ID}`);
}

const KINDS: Readonly<Partial<Record<SessionKind, string>>> = {
  [SessionKind.LOGIN]: "login",
  [SessionKind.BROWSER]: "browser",
  [SessionKind.DELEGATION]: "delegation",
};

function shownKind({ kind }: Session): string {
  return KINDS[kind] ?? "other";
}

/** Whichever end comes first, unless it is refreshed. */
function endOf({ expireTime, idleExpireTime }: Session): Session["expireTime"] {
  const isIdleFirst =
    expireTime !== undefined &&
    idleExpireTime !== undefined &&
    timestampDate(idleExpireTime) < timestampDate(expireTime);
  return isIdleFirst ? idleExpireTime : expireTime;
}
