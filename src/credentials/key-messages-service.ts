import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type DailyUsage,
  DailyUsageSchema,
  type KeySlot as KeySlotMessage,
  KeySlotSchema,
} from "../gen/latchkey/v1/key_pb.ts";
import type { DailyUsageRow } from "../usage/read-usage.ts";
import type { SlotView } from "./key-slots.ts";

// What the messages of both kinds of keys have in common.

export function slotMessage({ expireTime, lastUse, createTime, ...slot }: SlotView): KeySlotMessage {
  return create(KeySlotSchema, {
    ...slot,
    createTime: timestampFromDate(createTime),
    ...(expireTime && { expireTime: timestampFromDate(expireTime) }),
    ...(lastUse && { lastUseTime: timestampFromDate(lastUse.time), lastUseAddress: lastUse.address }),
  });
}

export function dailyUsageMessage({ slots, ...day }: DailyUsageRow): DailyUsage {
  return create(DailyUsageSchema, { ...day, slots: slots.map((slot) => ({ ...slot })) });
}

const DEFAULT_DAYS = 30;

/** How many days of usage a message asks for. */
export function daysOf({ days }: { readonly days: number }): number {
  return days === 0 ? DEFAULT_DAYS : days;
}
