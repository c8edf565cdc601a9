import type { Bench, Findings } from "../bench-context.ts";
import { NotStarted, type Server } from "../fixture/server.ts";
import { closedLoop } from "../load/closed-loop.ts";
import { aboutApiKey } from "../questions.ts";
import { tenths, whole } from "../report.ts";
import { median } from "../statistics.ts";
import { destinationAt, openFleet, prepareQuestion, repeating } from "./asking.ts";

// Whether two workers do more than one where they share two cores with the load.

/** Connections enough for the workers to have as many each. */
const SPREAD = { connections: 16, streams: 8 };
const COUNTS = [1, 2] as const;

export async function measureWorkers(bench: Bench): Promise<Findings> {
  const { cores, isQuick } = bench;
  const rounds = isQuick ? 1 : 5;
  const millis = isQuick ? 700 : 1500;
  await using started = new AsyncDisposableStack();
  cores.unpin();
  started.defer(() => cores.pin());
  const servers = new Map<number, Server>();
  for (const count of COUNTS) {
    try {
      const args = ["--workers", String(count)];
      const server = await bench.startLatchkey(`workers-${count}`, { through: cores.shared, args });
      started.defer(() => server.stop());
      servers.set(count, server);
    } catch (error) {
      if (error instanceof NotStarted) {
        return absent(error);
      }
      throw error;
    }
  }
  const perSecond = new Map<number, number[]>(COUNTS.map((count) => [count, []]));
  // The first round warms up.
  for (let round = 0; round <= rounds; round++) {
    for (const [count, server] of servers) {
      const destination = destinationAt(bench, server, "grpc");
      const prepared = bench.population.apiKeys.map((key) => prepareQuestion(destination, aboutApiKey(key)));
      const fleet = await openFleet(destination, SPREAD);
      const { answers, seconds } = await closedLoop(fleet, repeating(prepared), {}, millis);
      await fleet.close();
      if (round > 0) {
        perSecond.get(count)?.push(answers / seconds);
      }
    }
    bench.say(`round ${round} of ${rounds}`);
  }
  const of = (count: number) => median(perSecond.get(count) ?? []);
  return {
    figures: [
      {
        name: "two workers on two cores, load from the same two",
        atLeast: "> one worker",
        found: `${(of(2) / of(1)).toFixed(2)} ×`,
        isMet: of(2) > of(1),
      },
    ],
    tables: [
      {
        title: "Workers, on two cores with the load",
        head: ["workers", "req/s", "RSS of each, MB"],
        rows: COUNTS.map((count) => [
          String(count),
          whole(of(count)),
          (servers.get(count)?.usage.residentBytes() ?? []).map((bytes) => tenths(bytes / 1e6)).join(", "),
        ]),
      },
    ],
    raw: Object.fromEntries(perSecond),
  };
}

function absent({ message }: NotStarted): Findings {
  return {
    figures: [
      {
        name: "two workers on two cores, load from the same two",
        atLeast: "> one worker",
        found: "`latchkey serve --workers` does not start",
        isMet: undefined,
      },
    ],
    tables: [],
    raw: { absent: message },
  };
}
