import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { type LastUse, readLastUses } from "../usage/read-usage.ts";

/** One of the two places that a key has for a secret. */
export interface KeySlot {
  /** The public part of the secret, by which a presented one is found. */
  readonly lookupId: string;
  /** 1 or 2. */
  readonly slot: number;
  /** The secret's text up to and with its lookup id. */
  readonly displayPrefix: string;
  readonly createTime: Date;
  /** The end of an overlap. Null: the secret ends with the key. */
  expireTime?: Date | null | undefined;
}

/** A slot as the readers of its key see it. */
export interface SlotView {
  readonly slot: number;
  readonly displayPrefix: string;
  readonly createTime: Date;
  readonly expireTime: Date | undefined;
  /** Undefined: never. */
  readonly lastUse: LastUse | undefined;
}

/** A key as its readers see it. */
export interface KeyView<Key> {
  readonly key: Key;
  /** Its secrets that work, the newest first. */
  readonly slots: readonly SlotView[];
}

/** The condition on slots whose secret has not come to its end. */
export function working() {
  return { $or: [{ expireTime: null }, { expireTime: { $gt: raw("clock_timestamp()") } }] };
}

export function worksAt({ expireTime }: KeySlot, now: Date): boolean {
  return expireTime == null || expireTime > now;
}

/** An older secret has an end, from the moment that there is a newer one: that tells more than clocks do. */
export function newestFirst<Slot extends KeySlot>(slots: readonly Slot[]): Slot[] {
  const hasEnd = ({ expireTime }: Slot) => (expireTime == null ? 0 : 1);
  return slots.toSorted((a, b) => hasEnd(a) - hasEnd(b) || b.createTime.getTime() - a.createTime.getTime());
}

export function slotViewOf(slot: KeySlot, lastUse?: LastUse): SlotView {
  const { displayPrefix, createTime, expireTime } = slot;
  return { slot: slot.slot, displayPrefix, createTime, expireTime: expireTime ?? undefined, lastUse };
}

/** The slots of each key, newest first, with their last uses. */
export async function slotViewsByKey<Slot extends KeySlot>(
  em: EntityManager,
  slots: readonly Slot[],
  keyIdOf: (slot: Slot) => string,
): Promise<ReadonlyMap<string, SlotView[]>> {
  const lastUses = await readLastUses(
    em,
    slots.map(({ lookupId }) => lookupId),
  );
  const views = new Map<string, SlotView[]>();
  for (const slot of newestFirst(slots)) {
    const keyId = keyIdOf(slot);
    views.set(keyId, [...(views.get(keyId) ?? []), slotViewOf(slot, lastUses.get(slot.lookupId))]);
  }
  return views;
}
