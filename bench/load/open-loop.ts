import type { Connection } from "./connection.ts";
import type { Fleet, Traffic } from "./fleet.ts";

export interface Latencies {
  /** Of each request, in milliseconds. */
  readonly millis: readonly number[];
  /** Whether the server keeps up with the rate. If not, the latencies tell how long it was tried, and no more. */
  readonly keptUp: boolean;
}

/** How much longer than planned it may take, times. */
const KEPT_UP = 1.1;
/** The last answers may take so long where the server pauses just then. */
const LATEST_ANSWER_MILLIS = 200;
/** After so many times the planned time nothing more is sent. */
const GIVEN_UP = 2;

/**
 * Asks so many times a second, whether or not the answers keep up. What a request waits for a stream counts as its
 * latency: it is the time from when it was due (so that omission is not coordinated with the server's pauses).
 *
 * @param spins look at the clock without a pause, which is exact, and takes a core: where the load has its own.
 */
export async function openLoop(
  fleet: Fleet,
  traffic: Traffic,
  options: { readonly rate: number; readonly millis: number; readonly spins: boolean },
): Promise<Latencies> {
  const { rate, millis, spins } = options;
  const total = Math.ceil((rate * millis) / 1000);
  const latencies: number[] = [];
  let inFlight = 0;
  const free: Connection[] = [];
  // One of each connection after another, so that they share the load.
  for (let stream = 0; stream < Math.max(...fleet.connections.map(({ streams }) => streams)); stream++) {
    free.push(...fleet.connections.filter(({ streams }) => stream < streams));
  }
  const due: number[] = [];
  const began = performance.now();
  let asked = 0;
  const { promise: done, resolve } = Promise.withResolvers<void>();
  const endWhereDone = () => {
    if (inFlight === 0 && due.length === 0 && asked === total) {
      resolve();
    }
  };
  const send = () => {
    if (performance.now() - began > GIVEN_UP * millis) {
      asked = total;
      due.length = 0;
      endWhereDone();
      return;
    }
    while (due.length > 0 && free.length > 0) {
      const at = due.shift() as number;
      const connection = free.shift() as Connection;
      const next = traffic();
      if (next === undefined) {
        fleet.fail(new Error("there is not enough to ask about"));
        return;
      }
      inFlight++;
      fleet.ask(connection, next, () => {
        inFlight--;
        latencies.push(performance.now() - at);
        free.push(connection);
        send();
        endWhereDone();
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
  return { millis: latencies, keptUp: performance.now() - began <= KEPT_UP * millis + LATEST_ANSWER_MILLIS };
}
