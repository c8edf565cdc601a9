import { InvalidArgumentError } from "commander";
import { WORKERS_FORM, workers } from "../config.ts";

const UNIT_SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 } as const;
type Unit = keyof typeof UNIT_SECONDS;

/** No SI prefix and no calendar: `90d` is 90 times 24 hours. */
const DURATION = /^(\d{1,9})([smhdw])$/;
/** RFC 3339 section 5.6, and a day alone. */
const DAY = /^\d{4}-\d\d-\d\d$/;
const MOMENT = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d{1,9})?)(Z|[+-]\d\d:\d\d)$/i;

export interface RateLimitOption {
  readonly requests: number;
  readonly windowSeconds: number;
}

/** `24h`. @returns seconds. */
export function parseDuration(text: string): number {
  const [, amount, unit] = DURATION.exec(text) ?? [];
  if (amount === undefined) {
    if (text === "0") {
      return 0;
    }
    throw new InvalidArgumentError("Write a number and s, m, h, d or w: 24h.");
  }
  return Number(amount) * UNIT_SECONDS[unit as Unit];
}

/** `2027-01-31` (its start, in UTC) or `2027-01-31T10:00:00Z`. */
export function parseMoment(text: string): Date {
  const day = MOMENT.exec(text)?.[1] ?? text;
  const moment = new Date(DAY.test(text) ? `${text}T00:00:00Z` : MOMENT.test(text) ? text : Number.NaN);
  // Date takes the 31st of February for the 3rd of March.
  const start = new Date(`${day}T00:00:00Z`);
  if (Number.isNaN(moment.getTime()) || start.toISOString().slice(0, 10) !== day) {
    throw new InvalidArgumentError("Write a moment as 2027-01-31 or 2027-01-31T10:00:00Z.");
  }
  return moment;
}

/** `90d` from now, a moment, or `never`. */
export function parseExpiry(text: string): Date | "never" {
  if (text === "never") {
    return "never";
  }
  if (DURATION.test(text)) {
    return new Date(Date.now() + parseDuration(text) * 1000);
  }
  try {
    return parseMoment(text);
  } catch {
    throw new InvalidArgumentError("Write 90d, 2027-01-31, 2027-01-31T10:00:00Z or never.");
  }
}

/** `100/60s`, or `none`. */
export function parseRateLimit(text: string): RateLimitOption | "none" {
  if (text === "none") {
    return "none";
  }
  const [, requests, window] = /^(\d{1,10})\/(\w+)$/.exec(text) ?? [];
  if (requests === undefined || window === undefined || !DURATION.test(window)) {
    throw new InvalidArgumentError("Write how many in how long, as 100/60s, or none.");
  }
  return { requests: Number(requests), windowSeconds: parseDuration(window) };
}

export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) {
    throw new InvalidArgumentError("Write a whole number, 1 or more.");
  }
  return Number(text);
}

export function parseWorkers(text: string): number {
  try {
    return workers(text);
  } catch {
    throw new InvalidArgumentError(`Write ${WORKERS_FORM}.`);
  }
}

/** Values that are given again, or separated by commas; where there is a word for none of them, it stands alone. */
export function parseList(none?: string) {
  return (text: string, before: readonly string[] = []): readonly string[] => {
    const values = text.split(",").map((value) => value.trim());
    if (values.some((value) => value === "")) {
      throw new InvalidArgumentError("Between commas stands a value.");
    }
    const all = [...before, ...values];
    if (none !== undefined && all.includes(none) && all.length > 1) {
      throw new InvalidArgumentError(`${none} stands alone.`);
    }
    return all;
  };
}

/** `team=payments`, again for more; the word `none` stands for an empty map. */
export function parseMetadata(
  text: string,
  before: Readonly<Record<string, string>> | "none" = {},
): Readonly<Record<string, string>> | "none" {
  const at = text.indexOf("=");
  if (text === "none" ? before !== "none" && Object.keys(before).length > 0 : at < 1 || before === "none") {
    throw new InvalidArgumentError("Write name=value, or none alone.");
  }
  if (text === "none" || before === "none") {
    return "none";
  }
  const name = text.slice(0, at);
  if (Object.hasOwn(before, name)) {
    throw new InvalidArgumentError(`${name} is given twice.`);
  }
  return { ...before, [name]: text.slice(at + 1) };
}
