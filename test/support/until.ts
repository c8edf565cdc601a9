import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";

/** How long anything may take that is expected to happen, in milliseconds: for a machine that is busy. */
export const PATIENCE = 60_000;
const EVERY_MILLIS = 20;

/** Waits until something holds, and fails after a while. */
export async function until(
  what: string,
  holds: () => unknown,
  { within: millis = PATIENCE }: { readonly within?: number } = {},
): Promise<void> {
  const deadline = performance.now() + millis;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `waited ${millis} ms until ${what}`);
    await delay(EVERY_MILLIS);
  }
}
