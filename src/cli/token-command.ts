import type { MessageInitShape } from "@bufbuild/protobuf";
import { Command, Option } from "commander";
import { readConfig } from "../config.ts";
import {
  type IssueTokenRequestSchema,
  IssueTokenResponseSchema,
  TokenService,
} from "../gen/latchkey/v1/token_pb.ts";
import { CommandError } from "./command-error.ts";
import { type Identity, readIdentity } from "./credential-source.ts";
import { withExample } from "./example.ts";
import { permissionOption } from "./key-options.ts";
import { note } from "./output.ts";
import { parseDuration } from "./parse-option.ts";
import { answerOf, print } from "./print.ts";
import { connect } from "./service.ts";
import { type ServiceOptions, withOrganizationOptions } from "./service-options.ts";
import { shownTime } from "./shown.ts";

interface IssueOptions extends ServiceOptions {
  readonly delegate?: string;
  readonly permission?: readonly string[];
  readonly audience?: string;
  readonly lifetime?: number;
}

type Grant = NonNullable<MessageInitShape<typeof IssueTokenRequestSchema>["grant"]>;

export function tokenCommand(): Command {
  return new Command("token").description("short tokens that are got with keys").addCommand(issueCommand());
}

function issueCommand(): Command {
  const command = withOrganizationOptions(new Command("issue"))
    .description("get a token with the API key or the internal key to act with, and print it")
    .option("--delegate <id>", "act on behalf of this user; needs an internal key")
    .addOption(permissionOption())
    .option("--audience <name>", "the one audience that it is good for")
    .addOption(
      new Option("--lifetime <time>", "how long it lasts: 15m; else, and at most, an hour").argParser(
        parseDuration,
      ),
    )
    .action(async (options: IssueOptions) => {
      const config = readConfig(process.env, "client");
      const identity = await readIdentity(options, config);
      if (identity.note !== undefined) {
        note(identity.note);
      }
      const grant = grantOf(identity, options);
      const { url } = identity;
      // An API key is in the message, and is the proof.
      const caller = grant.case === "apiKey" ? { url, headers: {} } : identity;
      const service = await connect(caller, options, config, "platform");
      const { organizationId = "" } = service;
      const answer = await service.call(TokenService.method.issueToken, { grant, organizationId });
      await print(options, answerOf(IssueTokenResponseSchema, answer, `${answer.accessToken}\n`));
      if (!options.json) {
        note(`it ends at ${shownTime(answer.expireTime)}, and is sent as Authorization: Bearer`);
      }
    });
  return withExample(command, "latchkey token issue --permission calls.read --lifetime 15m");
}

function grantOf({ headers }: Identity, options: IssueOptions): Grant {
  const { delegate, permission = [], audience = "", lifetime } = options;
  const asked = {
    permissions: [...permission],
    audience,
    ...(lifetime !== undefined && { lifetime: { seconds: BigInt(lifetime) } }),
  };
  const { "x-api-key": apiKey, "x-internal-key": internalKey } = headers;
  if (internalKey !== undefined) {
    return { case: "delegation", value: { ...asked, userId: delegate ?? "" } };
  }
  if (apiKey === undefined) {
    throw new CommandError("act with an API key or an internal key: nothing else gets such a token");
  }
  if (delegate !== undefined) {
    throw new CommandError("--delegate needs an internal key to act with");
  }
  return { case: "apiKey", value: { ...asked, apiKey } };
}
