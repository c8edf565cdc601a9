import { type DestinationStream, type Logger, pino } from "pino";
import pinoPretty from "pino-pretty";
import { rootCause } from "../storage/storage-error.ts";

/** What looks like a secret of ours, wherever it stands. */
const SECRETS = [
  // A key: prefix, perhaps a label, lookup id, secret with checksum.
  { pattern: /\b([a-z][a-z0-9]*(?:_[a-z][a-z0-9]*)?_[0-9A-Za-z]{12})_[0-9A-Za-z]{20,}/g, shown: "$1_…" },
  // A JWT: its payload names people.
  { pattern: /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, shown: "eyJ…" },
  { pattern: /\$argon2id\$\S+/g, shown: "$argon2id$…" },
  { pattern: /(postgres(?:ql)?:\/\/)[^@\s]+@/g, shown: "$1…@" },
];

/** Standard output: one JSON object a line, or for a person at a terminal something to read. */
export function standardOutput(): DestinationStream {
  return process.stdout.isTTY
    ? pinoPretty({ sync: true, ignore: "pid,hostname", translateTime: "SYS:HH:MM:ss" })
    : pino.destination({ dest: 1, sync: true });
}

export function createLog(level: string, destination: DestinationStream): Logger {
  return pino({ level, serializers: { err: describeError } }, destination);
}

/**
 * What the log says of an error. Of a database error it is the server's own words, not the statement that
 * the ORM repeats with its values.
 */
export function describeError(thrown: unknown): Record<string, unknown> {
  const error = rootCause(thrown);
  if (!(error instanceof Error)) {
    return { message: redact(String(error)) };
  }
  const code = "code" in error ? { code: String(error.code) } : {};
  const constraint = "constraint" in error ? { constraint: String(error.constraint) } : {};
  const frames = (error.stack ?? "").split("\n").filter((line) => line.startsWith("    at "));
  const stack = frames.slice(0, 12).map(redact).join("\n");
  return {
    type: error.name,
    message: redact(error.message),
    ...code,
    ...constraint,
    stack,
  };
}

/** Takes secrets out of a text, and what could forge or colour a line of the log. */
export function redact(text: string): string {
  const shown = SECRETS.reduce((rest, secret) => rest.replace(secret.pattern, secret.shown), text);
  return shown.replace(/\p{C}/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}
