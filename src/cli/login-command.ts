import { Command, Option } from "commander";
import { IssueTokenResponseSchema, TokenService } from "../gen/latchkey/v1/token_pb.ts";
import { withExample } from "./example.ts";
import { note } from "./output.ts";
import { answerOf, print } from "./print.ts";
import { writePrivateFile } from "./private-file.ts";
import { readPassword } from "./read-password.ts";
import { openServiceAsNobody } from "./service.ts";
import { organizationOption, type ServiceOptions, withAddressOptions } from "./service-options.ts";
import { shownTime } from "./shown.ts";

const { method } = TokenService;

interface LoginOptions extends ServiceOptions {
  readonly email: string;
  readonly passwordFile?: string;
  readonly save?: string;
}

export function loginCommand(): Command {
  const command = withAddressOptions(new Command("login"))
    .description(
      "log in as a person, and print the access token, for LATCHKEY_CREDENTIAL; with --json also the refresh token",
    )
    .requiredOption("--email <address>", "the person's email address")
    .addOption(
      new Option(
        "--password-file <file>",
        "a file that holds the password, - for standard input; else the terminal is asked",
      ),
    )
    .addOption(
      new Option(
        "--save <file>",
        "write the token to this file instead, which nobody else can read, for --credential-file",
      ).conflicts("json"),
    )
    .addOption(organizationOption("the organization to act for, of somebody who belongs to several"))
    .action(logIn);
  return withExample(command, "latchkey login --email ada@example.com --save token");
}

async function logIn(options: LoginOptions): Promise<void> {
  const { email, passwordFile, save } = options;
  const service = await openServiceAsNobody(options);
  const password = await readPassword(passwordFile, `password of ${email}: `);
  const answer = await service.call(method.issueToken, {
    grant: { case: "password", value: { email, password } },
    organizationId: service.organizationId ?? "",
  });
  const { accessToken, user, expireTime } = answer;
  if (save === undefined) {
    await print(options, answerOf(IssueTokenResponseSchema, answer, `${accessToken}\n`));
  } else {
    await writePrivateFile(save, `${accessToken}\n`);
  }
  if (!options.json) {
    note(`logged in as ${user?.email}, ${user?.role}, until ${shownTime(expireTime)}`);
  }
}
