import { type Logger, pino } from "pino";
import pinoPretty from "pino-pretty";

/** What looks like a secret of ours, wherever it stands. */
const SECRETS = [
  // A key: prefix, perhaps a label, lookup id, secret with checksum.
  { pattern: /\b([a-z][a-z0-9]*(?:_[a-z][a-z0-9]*)?_[0-9A-Za-z]{12})_[0-9A-Za-z]{20,}/g, shown: "$1_…" },
  // A JWT: its payload names people.
  { pattern: /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, shown: "eyJ…" },
  { pattern: /\$argon2id\$\S+/g, shown: "$argon2id$…" },
  { pattern: /(postgres(?:ql)?:\/\/)[^@\s]+@/g, shown: "$1…@" },
];

/** @param pretty for a person at a terminal; else one JSON object a line. */
export function createLog(options: { readonly level: string; readonly pretty: boolean }): Logger {
  const stream = options.pretty
    ? pinoPretty({ sync: true, ignore: "pid,hostname", translateTime: "SYS:HH:MM:ss" })
    : pino.destination({ dest: 1, sync: true });
  return pino({ level: options.level, serializers: { err: describeError } }, stream);
}

/**
 * What the log says of an error. Of a database error it is the server's own words, not the statement that
 * the ORM repeats with its values.
 */
export function describeError(thrown: unknown): Record<string, unknown> {
  let error = thrown;
  for (let depth = 0; error instanceof Error && error.cause instanceof Error && depth < 8; depth++) {
    error = error.cause;
  }
  if (!(error instanceof Error)) {
    return { message: redact(String(error)) };
  }
  const code = "code" in error ? { code: String(error.code) } : {};
  const constraint = "constraint" in error ? { constraint: String(error.constraint) } : {};
  const frames = (error.stack ?? "").split("\n").filter((line) => line.startsWith("    at "));
  return {
    type: error.name,
    message: redact(error.message),
    ...code,
    ...constraint,
    stack: redact(frames.slice(0, 12).join("\n")),
  };
}

/** Takes secrets out of a text. */
export function redact(text: string): string {
  return SECRETS.reduce((rest, { pattern, shown }) => rest.replace(pattern, shown), text);
}
