import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";

const EVERY_MILLIS = 20;

/** Waits for a condition, and fails where it has not come true in time. */
export async function until(
  what: string,
  isTrue: () => boolean | Promise<boolean>,
  withinMillis = 10_000,
): Promise<void> {
  const deadline = performance.now() + withinMillis;
  while (!(await isTrue())) {
    assert.ok(performance.now() < deadline, `waited ${withinMillis} ms for: ${what}`);
    await delay(EVERY_MILLIS);
  }
}
