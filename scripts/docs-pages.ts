import { SETTINGS } from "../src/config.ts";
import { REASONS } from "../src/errors.ts";
import { accessRuleOf } from "../src/server/access-rules.ts";
import { SERVICES } from "../src/server/routes.ts";

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
  "configuration.md": configurationPage,
  "errors.md": errorsPage,
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
      const { permission, caller } = rule;
      const notes = [
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
