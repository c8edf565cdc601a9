import { readFile } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { type Command, Option } from "commander";
import {
  type AuthenticateRequest,
  AuthenticateRequestSchema,
  type Header,
  HeaderSchema,
} from "../gen/latchkey/v1/authentication_pb.ts";
import { CommandError } from "./command-error.ts";
import { readInput } from "./read-input.ts";

/** What the process ends with where a credential is refused, for scripts. */
export const REFUSED = 2;

/** What is asked about a request. */
export interface QuestionOptions {
  readonly header?: readonly string[];
  readonly require?: readonly string[];
  readonly requireAny?: readonly string[];
  readonly organization?: string;
  readonly audience?: string;
  readonly clientAddress?: string;
}

export function withQuestionOptions(command: Command): Command {
  const collect = (value: string, list: readonly string[] = []) => [...list, value];
  return command
    .addOption(
      new Option(
        "-H, --header <'Name: value'>",
        "a header, or @ and a file of them, as curl takes it; again for more",
      ).argParser(collect),
    )
    .addOption(
      new Option("--require <permission>", "a permission that must be held; again for more").argParser(
        collect,
      ),
    )
    .addOption(
      new Option(
        "--require-any <permission>",
        "permissions of which one must be held; again for more",
      ).argParser(collect),
    )
    .option("--organization <id>", "the organization that the request is about")
    .option("--audience <audience>", "the audience that a token must be for")
    .option("--client-address <address>", "the address that the request came from");
}

/** @throws CommandError where a header is none. */
export async function readQuestion(options: QuestionOptions): Promise<AuthenticateRequest> {
  const headers = await Promise.all((options.header ?? []).map(readHeaders));
  return create(AuthenticateRequestSchema, {
    headers: headers.flat(),
    requiredPermissions: [...(options.require ?? [])],
    anyPermissions: [...(options.requireAny ?? [])],
    organizationId: options.organization ?? "",
    audience: options.audience ?? "",
    clientAddress: options.clientAddress ?? "",
  });
}

/** `@file` and `@-` keep a secret out of the list of processes. */
async function readHeaders(text: string): Promise<Header[]> {
  if (!text.startsWith("@")) {
    return [readHeader(text)];
  }
  const path = text.slice(1);
  const content =
    path === "-"
      ? await readInput()
      : await readFile(path, "utf8").catch((error: Error) => {
          throw new CommandError(`${path} cannot be read: ${error.message}`);
        });
  return content
    .split(/\r?\n/)
    .filter((line) => line !== "")
    .map(readHeader);
}

/** As curl reads it: the name up to the first colon. */
function readHeader(text: string): Header {
  const colon = text.indexOf(":");
  if (colon < 1) {
    throw new CommandError("-H takes 'Name: value'; what was given has no name before a colon");
  }
  return create(HeaderSchema, { name: text.slice(0, colon), value: text.slice(colon + 1).trimStart() });
}
