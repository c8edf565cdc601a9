import type {
  CredentialHeaders,
  HeaderField,
  PresentedCredential,
} from "../../src/credentials/credential-headers.ts";
import type { Reason } from "../../src/errors.ts";

/**
 * The rules for raw headers, read plainly: everything that is wrong, each rule on its own, and what the
 * headers say where nothing is. Slow, and without regard to which fault a caller is told first.
 */
export function readPlainly(headers: readonly HeaderField[]): {
  faults: Set<Reason>;
  says: CredentialHeaders;
} {
  const faults = new Set<Reason>();
  const names = headers.map(({ name }) => name.toLowerCase());
  const valuesOf = (name: string) => headers.filter((_, at) => names[at] === name).map(({ value }) => value);

  const size = headers.map(({ name, value }) => Buffer.from(name + value).length).reduce((a, b) => a + b, 0);
  if (headers.length > 256 || size > 48 * 1024) {
    faults.add("HEADERS_TOO_LARGE");
  }
  for (const { name } of headers) {
    if (!isToken(name.startsWith(":") ? name.slice(1) : name)) {
      faults.add("HEADER_NAME_INVALID");
    }
  }
  const guarded = ["authorization", "x-api-key", "x-internal-key", "x-org-id"];
  for (const name of names) {
    if (!guarded.includes(name) && guarded.includes(withDashes(name))) {
      faults.add("CREDENTIAL_HEADER_ALIAS");
    }
  }
  for (const name of guarded) {
    if (valuesOf(name).length > 1) {
      faults.add(name === "x-org-id" ? "ORGANIZATION_AMBIGUOUS" : "CREDENTIALS_AMBIGUOUS");
    }
  }

  // What `Connection` names is gone behind the next hop.
  for (const option of valuesOf("connection").flatMap((value) => value.toLowerCase().split(","))) {
    const named = withoutSpaceAround(option);
    if (guarded.includes(named) || withDashes(named).startsWith("x-latchkey-")) {
      faults.add("CREDENTIALS_AMBIGUOUS");
    }
  }

  const found: PresentedCredential[] = [];
  const readText = (kind: PresentedCredential["kind"], value: string) => {
    const text = withoutSpaceAround(value);
    if (text.includes(",")) {
      faults.add("CREDENTIALS_AMBIGUOUS");
    }
    if (text.includes(" ") || text.includes("\t")) {
      faults.add("CREDENTIAL_MALFORMED");
    }
    found.push({ kind, text });
  };
  for (const value of [
    ...valuesOf("x-api-key"),
    ...valuesOf("x-internal-key"),
    ...valuesOf("authorization"),
  ]) {
    if (!isPrintable(value)) {
      faults.add("CREDENTIAL_MALFORMED");
    }
  }
  for (const value of valuesOf("x-api-key")) {
    readText("api_key", value);
  }
  for (const value of valuesOf("x-internal-key")) {
    readText("service_key", value);
  }
  for (const value of valuesOf("authorization")) {
    const schemes = value.split(",").map((part) => withoutSpaceAround(part).split(/[ \t]/)[0]?.toLowerCase());
    if (schemes.length > 1 && schemes.includes("bearer")) {
      faults.add("CREDENTIALS_AMBIGUOUS");
    } else if (!isSchemeWithItsRest(withoutSpaceAround(value))) {
      faults.add("CREDENTIAL_MALFORMED");
    } else if (schemes.includes("bearer")) {
      readText("bearer", withoutSpaceAround(value).slice("bearer".length));
    }
  }
  if (found.length > 1) {
    faults.add("CREDENTIALS_AMBIGUOUS");
  }

  const [organization = ""] = valuesOf("x-org-id").map(withoutSpaceAround);
  if (valuesOf("x-org-id").some((value) => value.includes(","))) {
    faults.add("ORGANIZATION_AMBIGUOUS");
  } else if (valuesOf("x-org-id").some((value) => !isUuid(withoutSpaceAround(value)))) {
    faults.add("ORGANIZATION_ID_INVALID");
  }

  const strip = new Set(["x-api-key", "x-internal-key", "x-org-id"]);
  if (found.some(({ kind }) => kind === "bearer")) {
    strip.add("authorization");
  }
  for (const name of names.filter((name) => withDashes(name).startsWith("x-latchkey-"))) {
    strip.add(name);
  }
  return {
    faults,
    says: { credential: found[0], organizationId: organization.toLowerCase(), strip: [...strip].sort() },
  };
}

/** Nothing; or the name of a scheme, alone, with a token, or with parameters. */
function isSchemeWithItsRest(value: string): boolean {
  const [scheme = "", ...words] = value.split(/[ \t]+/);
  const rest = words.join(" ");
  const isName = /^[A-Za-z]/.test(scheme) && [...scheme].every((one) => `${LETTERS}-`.includes(one));
  const token = rest.replace(/=+$/, "");
  const isTokenOnly = token !== "" && [...token].every((one) => `${LETTERS}._~+/-`.includes(one));
  const [parameter = ""] = rest.split("=");
  const hasParameters = rest.includes("=") && isToken(withoutSpaceAround(parameter));
  return value === "" || (isName && (rest === "" || isTokenOnly || hasParameters));
}

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/** RFC 9110 section 5.6.2. */
function isToken(name: string): boolean {
  return name !== "" && [...name].every((character) => `${LETTERS}!#$%&'*+-.^_\`|~`.includes(character));
}

/** The name as a server reads it that takes every special character for a dash. */
function withDashes(name: string): string {
  return [...name].map((character) => (LETTERS.includes(character) ? character : "-")).join("");
}

function isPrintable(value: string): boolean {
  return [...value].every((character) => character === "\t" || (character >= " " && character <= "~"));
}

function withoutSpaceAround(value: string): string {
  let text = value;
  while (text.startsWith(" ") || text.startsWith("\t")) {
    text = text.slice(1);
  }
  while (text.endsWith(" ") || text.endsWith("\t")) {
    text = text.slice(0, -1);
  }
  return text;
}

function isUuid(text: string): boolean {
  const lengths = text.split("-").map((part) => part.length);
  const digits = [...text.replaceAll("-", "")];
  return lengths.join() === "8,4,4,4,12" && digits.every((digit) => "0123456789abcdefABCDEF".includes(digit));
}
