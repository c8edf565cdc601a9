import type { Bench, Findings } from "../bench-context.ts";
import { addMoreApiKeys, addStoredApiKeys } from "../fixture/populate.ts";
import type { Server } from "../fixture/server.ts";
import { closedLoop } from "../load/closed-loop.ts";
import type { Traffic } from "../load/fleet.ts";
import { aboutApiKey, aboutUnknownKey } from "../questions.ts";
import { megabytes, whole } from "../report.ts";
import { destinationAt, MULTIPLEXED, once, openFleet, prepareQuestion } from "./asking.ts";

// How much memory strangers' keys take, and a million keys in the database of which a hundred thousand are asked about.

const MOST_BYTES = 400e6;
/** How much more it may be at the end than when a tenth of the strangers' keys have come. */
const FLAT = 1.1;
const STEPS = 10;
/** A server that is too slow for all of them is asked about as many as it takes in this time. */
const BUDGET_SECONDS = 180;

export async function measureMemory(bench: Bench): Promise<Findings> {
  const { database, databaseName, population, isQuick } = bench;
  const unknown = isQuick ? 10_000 : 1_000_000;
  const [stored, hot] = isQuick ? [20_000, 2_000] : [1_000_000, 100_000];
  const strangers = await fromStrangers(bench, unknown);

  const connection = database.connectionTo(databaseName);
  await addStoredApiKeys(connection, population, stored - hot);
  const keys = await addMoreApiKeys(connection, population, hot);
  bench.say(`${whole(stored)} keys are stored`);
  const server = await bench.startLatchkey("many-keys");
  let resident: number;
  try {
    const destination = destinationAt(bench, server, "grpc");
    for (let lap = 1; lap <= 2; lap++) {
      await ask(
        bench,
        server,
        once(keys.values().map((key) => prepareQuestion(destination, aboutApiKey(key)))),
      );
      bench.say(`${whole(hot)} of them were asked about, ${lap} ×: ${megabytes(residentOf(server))}`);
    }
    resident = residentOf(server);
  } finally {
    await server.stop();
  }
  const { before, steps, asked } = strangers;
  const [first = Number.NaN] = steps;
  const last = steps.at(-1) ?? Number.NaN;
  return {
    figures: [
      {
        name: `RSS after ${whole(asked)} unknown keys`,
        atLeast: `flat: ≤ ${FLAT} × that after a tenth`,
        found: `${megabytes(first)} → ${megabytes(last)}`,
        isMet: last <= first * FLAT,
      },
      {
        name: `RSS with ${whole(stored)} keys stored, ${whole(hot)} hot`,
        atLeast: `≤ ${megabytes(MOST_BYTES)} a worker`,
        found: megabytes(resident),
        isMet: resident <= MOST_BYTES,
      },
    ],
    tables: [
      {
        title: "Memory",
        head: ["when", "RSS"],
        rows: [
          [`with ${whole(population.apiKeys.length)} keys hot`, megabytes(before)],
          ...steps.map((bytes, at) => [
            `after ${whole((asked / steps.length) * (at + 1))} unknown keys`,
            megabytes(bytes),
          ]),
          [`another process, ${whole(stored)} keys stored, ${whole(hot)} hot`, megabytes(resident)],
        ],
        ...(asked < unknown && { notes: [`It was too slow for ${whole(unknown)} in ${BUDGET_SECONDS} s.`] }),
      },
    ],
    raw: { before, steps, asked, resident, stored, hot },
  };
}

async function fromStrangers(bench: Bench, count: number) {
  const server = await bench.startLatchkey("strangers");
  try {
    const destination = destinationAt(bench, server, "grpc");
    const hot = bench.population.apiKeys
      .values()
      .map((key) => prepareQuestion(destination, aboutApiKey(key)));
    await ask(bench, server, once(hot));
    const before = residentOf(server);
    const steps: number[] = [];
    let asked = 0;
    const deadline = performance.now() + BUDGET_SECONDS * 1000;
    while (steps.length < STEPS && performance.now() < deadline) {
      let left = count / STEPS;
      await ask(bench, server, () => {
        if (left === 0 || performance.now() > deadline) {
          return undefined;
        }
        left--;
        asked++;
        return prepareQuestion(destination, aboutUnknownKey());
      });
      steps.push(residentOf(server));
      bench.say(`${whole(asked)} unknown keys: ${megabytes(steps.at(-1) ?? 0)}`);
    }
    return { before, steps, asked };
  } finally {
    await server.stop();
  }
}

async function ask(bench: Bench, server: Server, traffic: Traffic): Promise<void> {
  const fleet = await openFleet(destinationAt(bench, server, "grpc"), MULTIPLEXED);
  await closedLoop(fleet, traffic, {});
  await fleet.close();
}

/** Of the largest of its processes. */
function residentOf(server: Server): number {
  return Math.max(...server.usage.residentBytes());
}
