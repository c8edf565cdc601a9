import { toJsonString } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { Command } from "commander";
import { readConfig, set } from "../config.ts";
import {
  type AuthenticateResponse,
  AuthenticateResponseSchema,
  AuthenticationService,
} from "../gen/latchkey/v1/authentication_pb.ts";
import { CallError } from "./call-error.ts";
import { type Identity, readIdentity } from "./credential-source.ts";
import { withExample } from "./example.ts";
import { note, write } from "./output.ts";
import { type QuestionOptions, REFUSED, readQuestion, withQuestionOptions } from "./question-options.ts";
import { connect, type Service } from "./service.ts";
import { type ServiceOptions, withServiceOptions } from "./service-options.ts";
import { shownDecision, shownRefusal } from "./shown-decision.ts";

/** What the service says of the credential, rather than of the question or of itself. */
const REFUSALS: ReadonlySet<Code> = new Set([
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.InvalidArgument,
]);

export function authenticateCommand(): Command {
  const command = withServiceOptions(withQuestionOptions(new Command("authenticate")))
    .description("ask a running service about the headers of a request")
    .addHelpText(
      "after",
      "\nEnds with 0 where the credential is good, 2 where it is refused, 1 where nobody could tell.",
    )
    .action(run);
  return withExample(command, "latchkey authenticate -H @headers.txt --require calls.read");
}

async function run(options: ServiceOptions & QuestionOptions): Promise<void> {
  const service = await openAsCaller(options);
  const request = await readQuestion(options);
  try {
    await print(
      await service.call(AuthenticationService.method.authenticate, request),
      options.json ?? false,
    );
  } catch (error) {
    await reportRefusal(error, options.json ?? false);
  }
}

/** As the service that would ask: by its own key, if there is one, else as every command. */
async function openAsCaller(options: ServiceOptions): Promise<Service> {
  const config = readConfig(process.env, "client");
  const identity: Identity =
    config.callerKey === undefined
      ? await readIdentity(options, config)
      : { url: options.url ?? set(config.url), headers: { "x-internal-key": config.callerKey } };
  if (identity.note !== undefined) {
    note(identity.note);
  }
  return await connect(identity, options, config, "platform");
}

async function print(response: AuthenticateResponse, asJson: boolean): Promise<void> {
  await write(
    asJson
      ? `${toJsonString(AuthenticateResponseSchema, response, { prettySpaces: 2 })}\n`
      : shownDecision(response),
  );
}

/** A decision goes to standard output with exit code 2; a fault is thrown. */
async function reportRefusal(error: unknown, asJson: boolean): Promise<void> {
  if (!(error instanceof CallError) || !REFUSALS.has(error.code) || error.reason === undefined) {
    throw error;
  }
  const { code, reason, said: message, metadata } = error;
  if (reason === "REQUEST_INVALID") {
    throw error;
  }
  // Before anything is written: that nobody reads it does not make it good.
  process.exitCode = REFUSED;
  const told = { code: Code[code].toLowerCase(), reason, message, metadata };
  await write(
    asJson ? `${JSON.stringify(told, undefined, 2)}\n` : shownRefusal({ reason, message, metadata }),
  );
}
