import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import type { DailyUsage, KeySlot } from "../gen/latchkey/v1/key_pb.ts";
import { Table } from "./output.ts";

/** How values look to a person. */

/** To the second, in UTC. */
export function shownTime(time: Timestamp | undefined): string | undefined {
  return (
    time &&
    timestampDate(time)
      .toISOString()
      .replace(/\.\d+Z$/, "Z")
  );
}

/** When a key began not to work. */
interface Ends {
  readonly expireTime?: Timestamp | undefined;
  readonly revokeTime?: Timestamp | undefined;
}

export function shownState(key: Ends): string {
  if (key.revokeTime !== undefined) {
    return "revoked";
  }
  const hasEnded = key.expireTime !== undefined && timestampDate(key.expireTime).getTime() <= Date.now();
  return hasEnded ? "expired" : "active";
}

export function shownRevocation(key: Ends & { readonly revokeReason: string }): string {
  return [shownTime(key.revokeTime), key.revokeReason && `(${key.revokeReason})`].filter(Boolean).join(" ");
}

export function shownUse(slot: KeySlot): string {
  const { lastUseTime, lastUseAddress } = slot;
  return [shownTime(lastUseTime) ?? "never", lastUseAddress && `from ${lastUseAddress}`]
    .filter(Boolean)
    .join(" ");
}

/** The secrets of a key, by what each begins with. */
export function shownSlots(slots: readonly KeySlot[]): string {
  const rows = slots.map((slot) => [
    String(slot.slot),
    slot.displayPrefix,
    shownTime(slot.createTime) ?? "",
    shownTime(slot.expireTime) ?? "with the key",
    shownUse(slot),
  ]);
  return rows.length === 0 ? "" : new Table(["SLOT", "SECRET", "CREATED", "EXPIRES", "LAST USED"]).add(rows);
}

/** By day, and under each day by secret where more than one was in use. */
export function shownUsage(days: readonly DailyUsage[]): string {
  const rows = days.flatMap(({ date, allowed, refused, slots }) => [
    [date, String(allowed), String(refused), slots.length === 1 ? (slots[0]?.displayPrefix ?? "") : ""],
    ...(slots.length > 1 ? slots : []).map((slot) => [
      "",
      String(slot.allowed),
      String(slot.refused),
      slot.displayPrefix,
    ]),
  ]);
  return rows.length === 0 ? "" : new Table(["DAY", "ALLOWED", "REFUSED", "SECRET"]).add(rows);
}

/** Parts of an answer, with an empty line between. */
export function sectionsOf(...parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join("\n");
}
