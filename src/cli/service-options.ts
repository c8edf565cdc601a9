import { type Command, InvalidArgumentError, Option } from "commander";
import { SETTINGS } from "../config.ts";
import { parseCount } from "./parse-option.ts";

/** Under what help lists the options that all these commands have. */
export const COMMON = "Common options:";

/** What every command takes that talks to a running service. */
export interface ServiceOptions {
  readonly url?: string;
  readonly credentialFile?: string;
  readonly caFile?: string;
  readonly org?: string;
  readonly json?: boolean;
}

interface Parsed {
  readonly variable: string;
  readonly form: string;
  readonly parse: (text: string) => unknown;
}

const by =
  ({ form, parse }: Parsed) =>
  (text: string) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(`It ${error instanceof Error ? error.message : "is wrong"}: ${form}.`);
    }
  };

const option = (flags: string, about: string) => new Option(flags, about).helpGroup(COMMON);

const urlOption = () =>
  option("--url <url>", `the service; else ${SETTINGS.url.variable}`).argParser(by(SETTINGS.url));

const credentialFileOption = () =>
  option(
    "--credential-file <file>",
    `a file that holds the key or token to act with, - for standard input; else ${SETTINGS.credential.variable}`,
  );

const caFileOption = () =>
  option("--ca-file <file>", `who vouches for the service's certificate; else ${SETTINGS.caFile.variable}`);

const jsonOption = () => option("--json", "print JSON");

/** Options of a command that talks to a running service. */
export function withServiceOptions(command: Command): Command {
  return command
    .addOption(jsonOption())
    .addOption(urlOption())
    .addOption(credentialFileOption())
    .addOption(caFileOption());
}

/** The same where it is about one organization. */
export function withOrganizationOptions(command: Command): Command {
  return withServiceOptions(command).addOption(
    organizationOption("the organization, where it is not the credential's own"),
  );
}

export function organizationOption(about: string): Option {
  return option("--org <id>", `${about}; else ${SETTINGS.organization.variable}`).argParser(
    by(SETTINGS.organization),
  );
}

/** The same where the credential is in the message. */
export function withAddressOptions(command: Command): Command {
  return command.addOption(jsonOption()).addOption(urlOption()).addOption(caFileOption());
}

/** Of a command that lists. */
export function limitOption(): Option {
  return new Option("--limit <count>", "print no more than this many").argParser(parseCount);
}
