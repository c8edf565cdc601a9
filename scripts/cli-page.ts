import type { Command, Option } from "commander";
import { exampleOf } from "../src/cli/example.ts";
import { buildProgram } from "../src/cli/program.ts";
import { COMMON } from "../src/cli/service-options.ts";

const program = await buildProgram();

const INTRODUCTION = `The commands that run the service (\`dev\`, \`serve\`, \`migrate\`, \`bootstrap\`, \`rekey\`) read the settings of
[configuration.md](configuration.md). The others talk to a running service by its public API, and may do what
their credential may do. \`npm run latchkey -- …\` runs them from the sources.

## Whom a command acts as

- \`--credential-file <file>\`, or \`-\` for standard input; else \`LATCHKEY_CREDENTIAL\`. It is an internal key, an
  API key or a user's token, and is sent in the header it belongs in. It is never an argument: everybody on the
  machine sees those.
- Where neither is given, a command takes the internal key that \`npm start\` has kept in \`dev.json\`, and its
  organization and address, and says so on standard error. It does so only for the service that \`dev.json\` is
  about.
- \`--org <id>\`, else \`LATCHKEY_ORGANIZATION\`, names the organization: an internal key acts for it. An API key, and a token, are bound to their
  own; with a right of the platform's a person names any other.
- \`--url\`, else \`LATCHKEY_URL\`, says where the service is; \`--ca-file\`, else \`LATCHKEY_CA_FILE\`, who vouches for
  its certificate. A service that asks for certificates of its clients is shown that of
  \`LATCHKEY_CLIENT_CERT_FILE\`.

## What a command prints

- Standard output has the answer, and nothing else: for people, or with \`--json\` by the JSON mapping of protobuf.
  One answer is one document, the response of the API; a list is a line for each of its things. Lists are whole,
  unless \`--limit\` ends them.
- Standard error has hints, progress, and of a failure one line: the reason ([errors.md](errors.md)), and what to do.
- It ends with 0 where it was done; 1 where it was refused or failed; 2 where what was typed is wrong.
  \`authenticate\` and \`explain\` tell a decision: 0 accepted, 2 refused, 1 nobody could tell.
- A secret is printed once, by the command that makes it.
- Reads, creates and imports are tried once more where the service is away. A create cannot happen twice so: it
  has an idempotency key.

## How values are written

| | |
| --- | --- |
| a moment | \`90d\` from now (\`s\`, \`m\`, \`h\`, \`d\`, \`w\`), \`2027-01-31\` (its start, in UTC), \`2027-01-31T10:00:00Z\`, or \`never\` |
| a while | \`24h\`; \`0\` |
| a rate limit | \`100/60s\`, or \`none\` |
| permissions | again, or with commas: \`--permission calls.read,auth.users.read\`; of a role also \`none\` |
| address ranges | again, or with commas, or \`any\` |
| metadata | \`--metadata team=payments\`, again for more, or \`none\`. An update gives all of it |

## The file of an import

JSON lines, or CSV whose first line names the columns; \`.csv\` tells. Of \`latchkey key import\`:

| field | |
| --- | --- |
| \`name\`, \`environment\` | as of a new key |
| \`permissions\`, \`allowedCidrs\` | in JSON lists; in CSV with spaces or commas between |
| \`expireTime\` | a moment as above, but none from now |
| \`rateLimit\` | \`100/60s\` |
| \`metadata\` | in JSON an object of texts; in CSV a column for each, such as \`metadata.team\` |
| \`hash\` | SHA-2 and HMAC: hexadecimal or base64. bcrypt, scrypt, Argon2: their usual text |
| \`lookupPrefix\` | of bcrypt, scrypt and Argon2: the first 8 to 32 characters of the key |

\`\`\`json
{"name": "billing", "permissions": ["calls.*"], "hash": "9f86d081…", "metadata": {"id": "4711"}}
\`\`\`

Of \`latchkey import users\`:

| field | |
| --- | --- |
| \`email\`, \`displayName\` | as of a new user |
| \`organizationId\`, \`role\` | where the person is a member; where a row says nothing, \`--into\` and \`--role\` do |
| \`passwordHash\` | as the other system wrote it: [which kinds](passwords.md#people-of-another-system) |

- The file goes in calls of up to 10,000 rows and 4 MiB; it is never in memory whole.
- All or nothing holds for a call. Of a larger file every row is looked at before the first is written, so that
  only what comes about between, or within the file, can end it half-way: a hash that occurs twice, say.
- To import again what has been imported changes nothing: after a failure, the same command does the rest.
- \`--report\` has a line for each row; where nothing was imported, for each that was refused.
- It ends with 1 where rows were refused.`;

/** `docs/cli.md`: what the commands' own help says, and what it has no room for. */
export function cliPage(): string {
  return [
    "# The command line",
    INTRODUCTION,
    "## Options of the commands that talk to a service",
    optionTable(commonOptions()),
    "## Commands",
    ...program.commands.flatMap((command) => sections(command, "latchkey", "###")),
    "",
  ]
    .join("\n\n")
    .trimEnd();
}

/** That of a group, then those of its commands. */
function sections(command: Command, path: string, heading: string): string[] {
  const own = `${path} ${command.name()}`;
  const children = command.commands.filter((child) => child.name() !== "help");
  if (children.length > 0) {
    return [
      `${heading} \`${own}\``,
      sentence(command.description()),
      ...children.flatMap((child) => sections(child, own, `${heading}#`)),
    ];
  }
  const usage = command.registeredArguments.map((argument) => `<${argument.name()}>`);
  const options = command.options.filter(({ helpGroupHeading }) => helpGroupHeading !== COMMON);
  const example = exampleOf(command);
  return [
    `${heading} \`${[own, ...usage].join(" ")}\``,
    sentence(command.description()),
    ...(options.length === 0 ? [] : [optionTable(options)]),
    ...(example === undefined ? [] : [`\`\`\`sh\n${example}\n\`\`\``]),
  ];
}

function optionTable(options: readonly Option[]): string {
  const rows = options.map(({ flags, description, argChoices, defaultValue }) => {
    const choices = argChoices === undefined ? "" : `: ${argChoices.join(", ")}`;
    const initial = defaultValue === undefined ? "" : `; else ${defaultValue}`;
    return `| \`${flags}\` | ${`${description}${choices}${initial}`.replaceAll("|", "\\|")} |`;
  });
  return ["| option | |", "| --- | --- |", ...rows].join("\n");
}

function commonOptions(): Option[] {
  const all = leaves(program).flatMap(({ options }) => options);
  return [...new Map(all.map((option) => [option.flags, option])).values()].filter(
    ({ helpGroupHeading }) => helpGroupHeading === COMMON,
  );
}

function leaves(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
