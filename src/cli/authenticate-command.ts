import { create, toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { Command, Option } from "commander";
import { readConfig, set } from "../config.ts";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import {
  AuthenticateRequestSchema,
  type AuthenticateResponse,
  AuthenticateResponseSchema,
  AuthenticationService,
  type Header,
  HeaderSchema,
  PrincipalTypeSchema,
} from "../gen/latchkey/v1/authentication_pb.ts";
import { CommandError } from "./failure.ts";

/** What the process ends with, for scripts. */
const REFUSED = 2;

/** What the service says of the credential, rather than of the question or of itself. */
const REFUSALS: ReadonlySet<Code> = new Set([
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.InvalidArgument,
]);

interface Options {
  readonly header: readonly string[];
  readonly require: readonly string[];
  readonly organization: string;
  readonly audience: string;
  readonly clientAddress: string;
  readonly json: boolean;
}

export function authenticateCommand(): Command {
  const collect = (value: string, list: readonly string[]) => [...list, value];
  return new Command("authenticate")
    .description("ask a running service (LATCHKEY_URL) about the headers of a request")
    .addOption(
      new Option("-H, --header <'Name: value'>", "a header, as curl takes it; again for more")
        .argParser(collect)
        .default([], "none"),
    )
    .addOption(
      new Option("--require <permission>", "a permission that must be held; again for more")
        .argParser(collect)
        .default([], "none"),
    )
    .option("--organization <id>", "the organization that the request is about", "")
    .option("--audience <audience>", "the audience that a token must be for", "")
    .option("--client-address <address>", "the address that the request came from", "")
    .option("--json", "print the whole answer as JSON", false)
    .addHelpText(
      "after",
      "\nEnds with 0 where the credential is good, 2 where it is refused, 1 where nobody could tell.",
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  const config = readConfig(process.env, "authenticate");
  const request = create(AuthenticateRequestSchema, {
    headers: options.header.map(readHeader),
    requiredPermissions: [...options.require],
    organizationId: options.organization,
    audience: options.audience,
    clientAddress: options.clientAddress,
  });
  const transport = createConnectTransport({
    baseUrl: set(config.url),
    httpVersion: "1.1",
    defaultTimeoutMs: 10_000,
  });
  const client = createClient(AuthenticationService, transport);
  const caller = config.callerKey === undefined ? {} : { "x-internal-key": config.callerKey };
  try {
    print(await client.authenticate(request, { headers: caller }), options.json);
  } catch (error) {
    reportRefusal(ConnectError.from(error), options.json);
  }
}

/** As curl reads it: the name up to the first colon. */
function readHeader(text: string): Header {
  const colon = text.indexOf(":");
  if (colon < 1) {
    throw new CommandError("-H takes 'Name: value'; what was given has no name before a colon");
  }
  return create(HeaderSchema, { name: text.slice(0, colon), value: text.slice(colon + 1).trimStart() });
}

function print(response: AuthenticateResponse, asJson: boolean): void {
  if (asJson) {
    process.stdout.write(`${toJsonString(AuthenticateResponseSchema, response, { prettySpaces: 2 })}\n`);
    return;
  }
  const { principal, organization, credential, permissions } = response;
  const kind = PrincipalTypeSchema.value[principal?.type ?? 0]?.localName.toLowerCase();
  const rows = [
    [
      "principal",
      `${kind} ${principal?.id} ${[principal?.displayName, principal?.email].filter(Boolean).join(" ")}`,
    ],
    ...(principal?.role ? [["role", principal.role]] : []),
    ["organization", organization ? `${organization.name} (${organization.id})` : "all of them"],
    ["permissions", permissions.join(" ") || "none"],
    ["credential", credential?.id ?? ""],
  ];
  process.stdout.write(`${rows.map(([name = "", value]) => `${name.padEnd(14)}${value}`).join("\n")}\n`);
}

/** A decision goes to standard output with exit code 2; a fault is thrown. */
function reportRefusal(error: ConnectError, asJson: boolean): void {
  const [info] = error.findDetails(ErrorInfoSchema);
  if (info === undefined || !REFUSALS.has(error.code) || info.reason === "REQUEST_INVALID") {
    throw new CommandError(
      info === undefined
        ? `the service did not answer: ${error.rawMessage}`
        : `${info.reason}: ${error.rawMessage}`,
    );
  }
  const { reason, metadata } = info;
  const told = { code: Code[error.code].toLowerCase(), reason, message: error.rawMessage, metadata };
  process.stdout.write(
    asJson
      ? `${JSON.stringify(told, undefined, 2)}\n`
      : `refused       ${reason}: ${error.rawMessage}\n${Object.entries(metadata)
          .map(([name, value]) => `${name.padEnd(14)}${value}\n`)
          .join("")}`,
  );
  process.exitCode = REFUSED;
}
