import { isUtf8 } from "node:buffer";
import { type AskedQuestion, type Draft, draft, keepsRules } from "./asked-question.ts";

/** What a text may hold that its value does not show, or that protobuf-es looks at once more: `"` and surrogates. */
const HIDDEN = /\\u(?:0022|[dD][89a-fA-F])/;
const QUOTE = 0x22;

/**
 * Reads an AuthenticateRequest in its plainest form: known fields by their JSON names, strings for strings.
 *
 * @returns undefined for all else, which has to be read the long way.
 */
export function readQuestionJson(bytes: Buffer): AskedQuestion | undefined {
  if (!isUtf8(bytes)) {
    return undefined;
  }
  const text = bytes.toString();
  const value = parse(text);
  if (!isObject(value) || HIDDEN.test(text)) {
    return undefined;
  }
  const question = draft();
  const strings = new Strings();
  for (const name in value) {
    strings.count(name);
    if (!take(question, name, value[name], strings)) {
      return undefined;
    }
  }
  // More of them in the text are of a name that came twice: JSON.parse shows the last only.
  return strings.quotes === quotesIn(bytes) && keepsRules(question) ? question : undefined;
}

/** @returns false where the value has another form. */
function take(question: Draft, name: string, value: unknown, strings: Strings): boolean {
  switch (name) {
    case "headers":
      return Array.isArray(value) && value.every((header) => takeHeader(question, header, strings));
    case "requiredPermissions":
    case "anyPermissions":
      question[name] = value as string[];
      return Array.isArray(value) && value.every((item) => strings.count(item));
    case "organizationId":
      question.organizationId = typeof value === "string" ? value.toLowerCase() : "";
      return strings.count(value);
    case "audience":
    case "clientAddress":
    case "minRevision":
      question[name] = value as string;
      return strings.count(value);
    default:
      return false;
  }
}

function takeHeader({ headers }: Draft, header: unknown, strings: Strings): boolean {
  if (!isObject(header)) {
    return false;
  }
  for (const key in header) {
    if ((key !== "name" && key !== "value") || !strings.count(key) || !strings.count(header[key])) {
      return false;
    }
  }
  const { name = "", value = "" } = header as { name?: string; value?: string };
  headers.push({ name, value });
  return true;
}

/** The quotation marks that the strings of a value need in its text. */
class Strings {
  quotes = 0;

  /** @returns false where it is no string. */
  count(value: unknown): boolean {
    if (typeof value !== "string") {
      return false;
    }
    this.quotes += 2;
    for (let at = value.indexOf('"'); at !== -1; at = value.indexOf('"', at + 1)) {
      this.quotes++;
    }
    return true;
  }
}

function quotesIn(bytes: Buffer): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === QUOTE) {
      count++;
    }
  }
  return count;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
