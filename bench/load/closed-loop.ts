import { setTimeout as delay } from "node:timers/promises";
import type { Fleet, Traffic } from "./fleet.ts";

/** What was done, and what it took. */
export interface Throughput {
  readonly answers: number;
  readonly seconds: number;
  /** Microseconds of CPU, by whose they are. */
  readonly cpuMicros: Readonly<Record<string, number>>;
  /** How much of a core the load took, 0 to 1: near 1, it is what was measured. */
  readonly loadShare: number;
}

/** Whose CPU time is read, in microseconds since they began. */
export type Meters = Readonly<Record<string, () => number>>;

/**
 * Keeps every stream busy: for a while, or until there is nothing more to ask. Of a while the middle is counted,
 * when all streams are busy.
 */
export async function closedLoop(
  fleet: Fleet,
  traffic: Traffic,
  meters: Meters,
  millis?: number,
): Promise<Throughput> {
  let answers = 0;
  let inFlight = 0;
  let isOver = false;
  const { promise: idle, resolve: becomeIdle } = Promise.withResolvers<void>();
  const read = () => ({
    answers,
    at: performance.now(),
    load: process.cpuUsage(),
    micros: Object.entries(meters).map(([name, meter]) => [name, meter()] as const),
  });
  const begun = read();
  for (const connection of fleet.connections) {
    const next = () => {
      const asked = isOver ? undefined : traffic();
      if (asked === undefined) {
        if (inFlight === 0) {
          becomeIdle();
        }
        return;
      }
      inFlight++;
      fleet.ask(connection, asked, answered);
    };
    const answered = () => {
      answers++;
      inFlight--;
      next();
    };
    for (let stream = 0; stream < connection.streams; stream++) {
      next();
    }
  }
  if (millis !== undefined) {
    await Promise.race([delay(millis), fleet.failure]);
  } else {
    await Promise.race([idle, fleet.failure]);
  }
  const ended = read();
  isOver = true;
  if (inFlight > 0) {
    await Promise.race([idle, fleet.failure]);
  }
  const seconds = (ended.at - begun.at) / 1000;
  const load = process.cpuUsage(begun.load);
  return {
    answers: ended.answers,
    seconds,
    cpuMicros: Object.fromEntries(
      ended.micros.map(([name, micros], at) => [name, micros - (begun.micros[at]?.[1] ?? 0)]),
    ),
    loadShare: (load.user + load.system) / 1e6 / seconds,
  };
}
