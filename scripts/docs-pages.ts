import { SETTINGS } from "../src/config.ts";
import { REASONS } from "../src/errors.ts";
import { accessRuleOf } from "../src/server/access-rules.ts";
import { SERVICES } from "../src/server/routes.ts";
import {
  type Answer,
  CODES,
  FAULTS,
  type Fault,
  isAnswer,
  PROTOCOLS,
  type Protocol,
} from "../test/wire-faults/faults.ts";
import { cliPage } from "./cli-page.ts";

const MADE = "<!-- Made by `npm run generate`; a test fails where it is not up to date. -->";

/** The HTTP status that Connect gives each code. */
const HTTP_STATUS: Readonly<Record<string, number>> = {
  invalid_argument: 400,
  failed_precondition: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  already_exists: 409,
  resource_exhausted: 429,
  internal: 500,
  unavailable: 503,
};

/** The pages of docs/ that are made from the source, by file name. */
export const PAGES: Readonly<Record<string, () => string>> = {
  "access.md": accessPage,
  "cli.md": () => `${MADE}\n\n${cliPage()}\n`,
  "configuration.md": configurationPage,
  "errors.md": errorsPage,
  "wire.md": wirePage,
};

function errorsPage(): string {
  const rows = Object.entries(REASONS).map(([reason, { code, meaning, example }]) => [
    `\`${reason}\``,
    `\`${code}\``,
    String(HTTP_STATUS[code]),
    meaning,
    example,
  ]);
  return page(
    "Errors",
    `Every error that Latchkey decides on carries one \`google.rpc.ErrorInfo\`: its \`domain\` is \`latchkey\`, its
\`reason\` is one of these, and its \`metadata\` says more where there is more to say. Reasons are stable;
messages are for people and may change. The same names are published as \`latchkey.v1.Reason\`.

How to read the codes:

- \`unauthenticated\` and \`permission_denied\` are decisions. Nothing else is.
- \`unavailable\` is a fault of Latchkey's own: neither a refusal nor an allowance. Do not let the request
  through, and try again.
- \`failed_precondition\` with \`CALLER_REJECTED\` speaks of the service that asked, not of the credential that
  it asked about.
- Errors of the transport itself, such as a message that cannot be decoded, carry a code and a message only.
  A message that breaks the rules beside its fields also carries \`buf.validate.Violations\`, which name them.`,
    ["reason", "code", "HTTP", "what it means", "for example"],
    rows,
  );
}

function configurationPage(): string {
  const rows = Object.values(SETTINGS).map((setting) => {
    const initial = "initial" in setting ? setting.initial : undefined;
    const shown =
      typeof initial === "object"
        ? Object.entries(initial).map(([command, value]) => `\`${value}\` for \`${command}\``)
        : initial === undefined
          ? []
          : [`\`${initial}\``];
    const required = "requiredBy" in setting ? setting.requiredBy.map((command) => `\`${command}\``) : [];
    return [
      `\`${setting.variable}\``,
      setting.about,
      setting.form,
      shown.join(", ") || "not set",
      required.join(", "),
    ];
  });
  return page(
    "Configuration",
    `Settings are environment variables. A command reports everything that is wrong with them at once and does
not start; a \`LATCHKEY_*\` variable that is not in this table is such a fault, so that a misspelt setting
cannot silently leave a door open. \`dev\` is what \`npm start\` runs.`,
    ["variable", "what it does", "how it is written", "where it is not set", "needed by"],
    rows,
  );
}

function accessPage(): string {
  const rows = SERVICES.flatMap((service) =>
    service.methods.map((method) => {
      const rule = accessRuleOf(method);
      const name = `\`${service.name}/${method.name}\``;
      if (rule.kind !== "permission") {
        return [name, ACCESS_KINDS[rule.kind], "", ""];
      }
      const { permission, caller, possessionFields, ownFields } = rule;
      const fields = (names: readonly string[]) => names.map((field) => `\`${field}\``).join(" or ");
      const notes = [
        ...(possessionFields.length > 0
          ? [`nobody is asked where the message has ${fields(possessionFields)}`]
          : []),
        ...(ownFields.length > 0 ? [`or a person, about what ${fields(ownFields)} names and is theirs`] : []),
        ...(permission.self ? ["or a person, about themselves"] : []),
        ...(caller ? ["the caller's own credential; waived by `LATCHKEY_CALLERS=any`"] : []),
      ];
      return [
        name,
        `\`${permission.name}\`, ${permission.scope === "platform" ? "PLATFORM" : "in the organization concerned"}`,
        permission.platformName === "" ? "" : `\`${permission.platformName}\``,
        notes.join("; "),
      ];
    }),
  );
  return page(
    "Who may call what",
    `Each method declares its rule in its proto file, by the option \`(latchkey.v1.access)\`, and one interceptor
enforces it before the handler sees anything. Health and reflection are public. A thing of another
organization is \`not_found\`; another organization's name in a request is \`permission_denied\`.`,
    ["method", "who", "in every organization with", "also"],
    rows,
  );
}

const ACCESS_KINDS = {
  public: "anyone",
  authenticated: "whoever presents a valid credential",
  possession: "whoever holds the credential that the message carries",
} as const;

function wirePage(): string {
  const faults = FAULTS.flatMap((group) => group.faults);
  const deviations = [...new Set(faults.flatMap(({ deviation }) => deviation ?? []))];
  const rows = FAULTS.flatMap(({ title, faults: ofGroup }) =>
    ofGroup.map((fault) => [
      title,
      faultCell(fault),
      ...PROTOCOLS.map((protocol) => answerCell(protocol, fault)),
      fault.deviation === undefined
        ? fault.source
        : `${fault.source} [${deviations.indexOf(fault.deviation) + 1}]`,
    ]),
  );
  return page(
    "Wrong input on the wire",
    `What each protocol is answered when something is wrong with a request itself, before anything is decided about
it. These are the published answers; where Latchkey differs from them, or had to choose, a number says why. The
same table is a test: every line is sent over real sockets by every protocol, over HTTP/1.1 and HTTP/2, to unary
methods and to streams (\`test/wire-faults\`).

- gRPC and gRPC-Web answer HTTP 200 and a status: its number stands behind the code. So does a stream of Connect,
  whose last message has the code. A unary call of Connect is answered the HTTP status that stands before it.
- A number alone is an answer of HTTP, without a body.
- These errors carry a code and a message only, and the message never repeats a value that was sent.
- After each of them the connection serves the next call, except where HTTP itself is broken.
- An empty cell: it cannot happen to that protocol, or is the line of another.

${deviations.map((deviation, at) => `${at + 1}. ${deviation}.`).join("\n")}`,
    ["", "what is wrong", ...PROTOCOLS, "published in"],
    rows,
  );
}

function faultCell({ fault, kinds, http }: Fault): string {
  const only = [
    ...(http === undefined ? [] : [`HTTP/${http}`]),
    ...(kinds === undefined || kinds.length === 3 ? [] : [kinds.join(", ")]),
  ];
  return only.length === 0 ? fault : `${fault} (${only.join("; ")})`;
}

function answerCell(protocol: Protocol, { answer, kinds }: Fault): string {
  // A stream of Connect has no unary methods, nor a unary call anything else.
  const isCarried =
    kinds === undefined ||
    kinds.some((kind) =>
      protocol === "Connect unary" ? kind === "unary" : protocol !== "Connect stream" || kind !== "unary",
    );
  const own = isAnswer(answer) ? answer : answer[protocol];
  return own === undefined || !isCarried ? "" : answerText(protocol, own);
}

function answerText(protocol: Protocol, answer: Answer): string {
  if ("reset" in answer) {
    return `RST_STREAM \`${answer.reset}\``;
  }
  const headers = Object.entries(answer.headers ?? {}).map(([name, value]) =>
    name === "accept-post" ? ", with `accept-post`" : `, \`${name}: ${value}\``,
  );
  if (!("code" in answer)) {
    return `${answer.http}${headers.join("")}`;
  }
  const { grpc, http } = CODES[answer.code];
  const status = answer.http ?? (protocol === "Connect unary" ? http : undefined);
  const code =
    status === undefined && protocol !== "Connect stream"
      ? `\`${answer.code}\` (${grpc})`
      : `${status === undefined ? "" : `${status} `}\`${answer.code}\``;
  return `${code}${headers.join("")}`;
}

function page(
  title: string,
  introduction: string,
  head: readonly string[],
  rows: readonly string[][],
): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [
    MADE,
    "",
    `# ${title}`,
    "",
    introduction,
    "",
    line(head),
    line(head.map(() => "---")),
    ...rows.map(line),
    "",
  ].join("\n");
}
