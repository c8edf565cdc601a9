import type { EntityManager } from "@mikro-orm/postgresql";
import type { Storage } from "../storage/open-storage.ts";
import { type Seal, SealBroken } from "../storage/seal.ts";
import { mutate, type Tag } from "./mutate.ts";

const ROWS_AT_ONCE = 200;

/** A column of sealed values. */
export interface SealedColumn {
  readonly table: string;
  readonly column: string;
  /** The columns of its primary key. */
  readonly key: readonly string[];
  /** Where a value opens, by the values of its key. */
  readonly place: (key: readonly string[]) => string;
  /** What cached answers depend on that hold such a value. */
  readonly tags: readonly Tag[];
}

export interface Rekeyed {
  readonly table: string;
  /** How many were moved. */
  readonly moved: number;
  /** Those that open under neither key, by their places. */
  readonly broken: readonly string[];
}

/**
 * Seals anew, under the encryption key, whatever is sealed under the previous one: a few rows in each transaction,
 * beside replicas that know both keys. It may be broken off and begun again at any time, by several at once too.
 */
export async function rekey(
  parts: { readonly storage: Storage; readonly seal: Seal },
  columns: readonly SealedColumn[],
): Promise<Rekeyed[]> {
  const results: Rekeyed[] = [];
  for (const column of columns) {
    let moved = 0;
    let broken: string[] = [];
    do {
      broken = [];
      for (let after: readonly string[] | undefined = []; after !== undefined; ) {
        const batch: Batch = await rekeyBatch(parts, column, after);
        moved += batch.moved;
        broken.push(...batch.broken);
        after = batch.last;
      }
      // Others may be at it too, or have written meanwhile.
    } while ((await countOthers(parts, column)) > broken.length);
    results.push({ table: column.table, moved, broken });
  }
  return results;
}

interface Batch {
  readonly moved: number;
  readonly broken: readonly string[];
  /** The key of the last row that was looked at. Undefined: there are no more. */
  readonly last: readonly string[] | undefined;
}

/** @param after the key of a row; empty: from the start. */
async function rekeyBatch(
  { storage, seal }: { readonly storage: Storage; readonly seal: Seal },
  column: SealedColumn,
  after: readonly string[],
): Promise<Batch> {
  const { table, tags } = column;
  return await mutate(storage, { type: "operator", id: "rekey" }, async (em) => {
    const rows = await lockRows(em, seal, column, after);
    const broken: string[] = [];
    let moved = 0;
    for (const { key, sealed } of rows) {
      const place = column.place(key);
      try {
        const value = seal.close(seal.open(sealed, place), place);
        await em.execute(`update ${table} set ${column.column} = ? where ${conditionOf(column)}`, [
          value,
          ...key,
        ]);
        moved++;
      } catch (error) {
        if (!(error instanceof SealBroken)) {
          throw error;
        }
        broken.push(place);
      }
    }
    const result = { moved, broken, last: rows.at(-1)?.key };
    if (moved === 0) {
      return { result, unchanged: true };
    }
    const detail = { rows: moved, after: { encryptionKey: nameOf(seal) } };
    return { result, event: { action: "encryption_key.rekey", targetId: table, detail }, tags };
  });
}

const isOther = (column: string, { head }: Seal) =>
  `length(${column}) > 0 and substring(${column} from 1 for ${head.length}) <> ?`;

async function countOthers(
  { storage, seal }: { readonly storage: Storage; readonly seal: Seal },
  { table, column }: SealedColumn,
): Promise<number> {
  const [row] = await storage
    .fork()
    .execute<{ rows: number }[]>(
      `select count(*)::int as rows from ${table} where ${isOther(column, seal)}`,
      [seal.head],
    );
  return row?.rows ?? 0;
}

/** Rows that are not sealed under the encryption key, held until the unit of work is done. */
async function lockRows(
  em: EntityManager,
  seal: Seal,
  column: SealedColumn,
  after: readonly string[],
): Promise<{ readonly key: readonly string[]; readonly sealed: Buffer }[]> {
  const { table, column: name, key } = column;
  const keys = key.map((each) => `${each}::text collate "C"`).join(", ");
  const since = after.length === 0 ? "" : `and (${keys}) > (${key.map(() => "?").join(", ")})`;
  const rows = await em.execute<{ key: string[]; sealed: Buffer }[]>(
    `select array[${key.map((each) => `${each}::text`).join(", ")}] as key, ${name} as sealed from ${table}
    where ${isOther(name, seal)} ${since}
    order by ${keys} limit ${ROWS_AT_ONCE} for no key update`,
    [seal.head, ...after],
  );
  return rows;
}

function conditionOf({ key }: SealedColumn): string {
  return key.map((each) => `${each}::text = ?`).join(" and ");
}

/** What tells one encryption key from another. */
function nameOf({ head }: Seal): string {
  return head.subarray(1).toString("hex");
}
