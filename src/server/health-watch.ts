import { setTimeout as delay } from "node:timers/promises";
import type { HealthStatus } from "../grpc-health/index.ts";

/** How long gRPC's health may say what is not so any more. */
const EVERY_MILLIS = 2_000;

/**
 * Keeps gRPC's health at what calls would find, until it is shut down: nothing is served without the database.
 *
 * @param services by their full names.
 */
export async function watchHealth(parts: {
  readonly health: HealthStatus;
  readonly services: readonly string[];
  readonly databaseAnswers: () => Promise<boolean>;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { health, services, databaseAnswers, signal } = parts;
  for (let isServing = true; !signal.aborted; isServing = await databaseAnswers()) {
    for (const service of ["", ...services]) {
      const status = isServing ? "SERVING" : "NOT_SERVING";
      if (health.get(service) !== status) {
        health.set(service, status);
      }
    }
    await delay(EVERY_MILLIS, undefined, { signal, ref: false }).catch(() => {});
  }
}
