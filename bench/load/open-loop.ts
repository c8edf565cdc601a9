import type { Connection } from "./connection.ts";
import type { Fleet, Traffic } from "./fleet.ts";

/**
 * Asks so many times a second, whether or not the answers keep up. What a request waits for a stream counts as its
 * latency: it is the time from when it was due (so that omission is not coordinated with the server's pauses).
 *
 * @param spins look at the clock without a pause, which is exact, and takes a core: where the load has its own.
 * @returns milliseconds of each.
 */
export async function openLoop(
  fleet: Fleet,
  traffic: Traffic,
  options: { readonly rate: number; readonly millis: number; readonly spins: boolean },
): Promise<number[]> {
  const { rate, millis, spins } = options;
  const total = Math.ceil((rate * millis) / 1000);
  const latencies: number[] = [];
  const free: Connection[] = [];
  // One of each connection after another, so that they share the load.
  for (let stream = 0; stream < Math.max(...fleet.connections.map(({ streams }) => streams)); stream++) {
    free.push(...fleet.connections.filter(({ streams }) => stream < streams));
  }
  const due: number[] = [];
  const began = performance.now();
  let asked = 0;
  const { promise: done, resolve } = Promise.withResolvers<void>();
  const send = () => {
    while (due.length > 0 && free.length > 0) {
      const at = due.shift() as number;
      const connection = free.shift() as Connection;
      const next = traffic();
      if (next === undefined) {
        fleet.fail(new Error("there is not enough to ask about"));
        return;
      }
      fleet.ask(connection, next, () => {
        latencies.push(performance.now() - at);
        free.push(connection);
        if (latencies.length === total) {
          resolve();
        } else {
          send();
        }
      });
    }
  };
  let hasFailed = false;
  fleet.failure.catch(() => {
    hasFailed = true;
  });
  const tick = () => {
    const now = performance.now();
    for (; asked < total && began + (asked / rate) * 1000 <= now; asked++) {
      due.push(began + (asked / rate) * 1000);
    }
    send();
    if (asked < total && !hasFailed) {
      wait();
    }
  };
  // While answers are awaited after the last was sent, the event loop sleeps, and wakes at once.
  const wait = () => (spins ? setImmediate(tick) : setTimeout(tick, 1));
  tick();
  await Promise.race([done, fleet.failure]);
  return latencies;
}
