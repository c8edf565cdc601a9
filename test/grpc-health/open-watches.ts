import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { HealthStatus } from "../../src/grpc-health/index.ts";

/** Waits until so many watches are open. */
export function openWatches(t: TestContext, health: HealthStatus, count: number): Promise<void> {
  return t.waitFor(() => assert.equal(health.openWatches, count), { interval: 5, timeout: 20_000 });
}
