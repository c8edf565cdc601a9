import type { Hearing } from "../changes/change-feed.ts";
import type { Catalogue } from "../permissions/permission-pattern.ts";
import type { Storage } from "../storage/open-storage.ts";
import { liveImportedKeys } from "./live-imported-keys.ts";
import { liveKeys } from "./live-keys.ts";
import type { AskNow, KeyFormatState, LiveState, MomentRow } from "./live-state.ts";
import { liveTokens } from "./live-tokens.ts";
import { Remembered } from "./remembered.ts";

/**
 * @param hearing of the changes of what changes seldom and is remembered: the catalogue and the formats of foreign
 * keys. Undefined: they are asked for each time.
 */
export function createLiveState(storage: Storage, hearing?: Hearing): LiveState {
  const catalogues = new Remembered<Catalogue>("catalogue", hearing);
  const formats = new Remembered<readonly KeyFormatState[]>("key_formats", hearing);

  const ask: AskNow = async <Row extends MomentRow>(
    name: string,
    sql: string,
    values: readonly unknown[],
  ) => {
    const known = catalogues.recall();
    const asked = catalogues.ask();
    const answer =
      known === undefined
        ? await storage.verify<Answer>(`${name}, catalogue`, asJson(sql, CATALOGUE), values)
        : await storage.verify<Answer>(name, asJson(sql, "null"), values);
    if (answer === undefined) {
      return undefined;
    }
    const catalogue = known ?? catalogues.keep(answer.catalogue, asked);
    return { ...revived(answer.row), now: timeOf(answer.now), catalogue } as Row;
  };

  return { ...liveKeys(ask), ...liveTokens(ask), ...liveImportedKeys(storage, ask, formats) };
}

interface Answer {
  now: string;
  row: Record<string, unknown>;
  catalogue: Catalogue;
}

const CATALOGUE = `json_build_object(
  'organization', array(select name from permissions where scope = 'organization' order by name),
  'platform', array(select name from permissions where scope = 'platform' order by name))`;

/** One column for all of them: `pg` reads the description of each column anew with each answer. */
function asJson(sql: string, catalogue: string): string {
  return `select to_json(now()) as now, row_to_json(q) as row, ${catalogue} as catalogue from (${sql}) q`;
}

const TIME = /(^|_)time$/;
const BYTES = new Set(["digest", "sealed_pepper"]);

/** A row as `pg` would have read it by its columns. */
function revived(row: Record<string, unknown>): Record<string, unknown> {
  for (const [name, value] of Object.entries(row)) {
    if (typeof value === "string") {
      if (TIME.test(name)) {
        row[name] = timeOf(value);
      } else if (BYTES.has(name)) {
        row[name] = Buffer.from(value.slice("\\x".length), "hex");
      }
    }
  }
  return row;
}

/** PostgreSQL also knows `infinity`, which is no date of JavaScript's. */
function timeOf(text: string): Date {
  return text.endsWith("infinity") ? (Number(text.replace("i", "I")) as unknown as Date) : new Date(text);
}
