import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

/** The file that PostgreSQL's programs write to. */
export interface Log {
  readonly path: string;
  add(line: string): void;
  text(): string;
  /** What it says of why the program ended, in one line. */
  reason(): string;
}

/** Begins a log anew; the last run's is kept beside it, in case that one crashed. */
export function beginLog(path: string): Log {
  if (existsSync(path)) renameSync(path, `${path}.old`);
  writeFileSync(path, "", { mode: 0o600, flag: "wx" });
  const text = () => (existsSync(path) ? readFileSync(path, "utf8") : "");
  return {
    path,
    add: (line) => appendFileSync(path, `${line}\n`),
    text,
    reason: () => `${lastComplaints(text()) || "it gave no reason"} (its log is ${path})`,
  };
}

function lastComplaints(text: string): string {
  const lines = text
    .split("\n")
    // "2026-07-08 11:12:13.141 UTC [15] FATAL:  …"
    .map((line) =>
      line
        .replace(/^\S+ \S+ \S+ \[\d+\] /, "")
        .replace(/ {2,}/g, " ")
        .trim(),
    )
    .filter((line) => line !== "");
  const complaints = lines.filter((line) =>
    /\b(error|FATAL|PANIC|DETAIL|HINT|could not|signal)\b/i.test(line),
  );
  return (complaints.length > 0 ? complaints : lines).slice(-3).join("; ");
}
