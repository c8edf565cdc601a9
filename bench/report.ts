import type { Table } from "./bench-context.ts";

/** A figure that is to be reached. */
export interface Figure {
  readonly name: string;
  /** For people. */
  readonly atLeast: string;
  readonly found: string;
  /** Undefined: it could not be measured here. */
  readonly isMet: boolean | undefined;
}

/** A ratio that must not be greater. */
export function ratioFigure(name: string, found: number, most: number, of: string): Figure {
  return { name, atLeast: `≤ ${most} × ${of}`, found: `${found.toFixed(2)} ×`, isMet: found <= most };
}

export function figuresTable(figures: readonly Figure[]): Table {
  return {
    title: "What it must show",
    head: ["figure", "at least", "found", "met"],
    rows: figures.map(({ name, atLeast, found, isMet }) => [
      name,
      atLeast,
      found,
      isMet === undefined ? "not measured" : isMet ? "yes" : "NO",
    ]),
  };
}

/** A table in Markdown, with columns that stand below each other. */
export function formatTable({ title, head, rows, notes = [] }: Table): string {
  const widths = head.map((name, at) => Math.max(name.length, ...rows.map((row) => (row[at] ?? "").length)));
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, at) => (at === 0 ? (cells[at] ?? "").padEnd(width) : (cells[at] ?? "").padStart(width))).join(" | ")} |`;
  const rule = `|${widths.map((width, at) => `${at === 0 ? " " : " "}${"-".repeat(width - 1)}${at === 0 ? "-" : ":"} `).join("|")}|`;
  return [
    `\n## ${title}\n`,
    line(head),
    rule,
    ...rows.map(line),
    ...notes.map((note) => `\n${note}`),
    "",
  ].join("\n");
}

export function whole(value: number): string {
  return Number.isNaN(value) ? "" : Math.round(value).toLocaleString("en-US");
}

export function tenths(value: number): string {
  return Number.isNaN(value) ? "" : value.toFixed(1);
}

export function hundredths(value: number): string {
  return Number.isNaN(value) ? "" : Number.isFinite(value) ? value.toFixed(2) : "∞";
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
