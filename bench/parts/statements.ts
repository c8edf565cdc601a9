import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Bench, Findings } from "../bench-context.ts";
import { startDatabaseProxy, statementsSince, sum, writesSince } from "../fixture/database-proxy.ts";
import { closedLoop } from "../load/closed-loop.ts";
import type { Prepared } from "../load/fleet.ts";
import { aboutApiKey, aboutGarbage } from "../questions.ts";
import { hundredths, whole } from "../report.ts";
import { destinationAt, MULTIPLEXED, once, openFleet, prepareQuestion } from "./asking.ts";

// What verifications ask of the database: every statement is counted on its way.

const KEYS = 1_000;
const GARBAGE = 10_000;
const IDLE_MILLIS = 3_000;
const SHOWN = 90;

export async function measureStatements(bench: Bench): Promise<Findings> {
  const { database, databaseName, population, isQuick } = bench;
  const verifications = isQuick ? 5_000 : 100_000;
  const proxy = await startDatabaseProxy(join(database.folder, "statements-proxy"), database.host);
  await using started = new AsyncDisposableStack();
  started.defer(() => proxy.stop());
  const server = await bench.startLatchkey("statements", {
    databaseUrl: database.urlOf(databaseName, proxy.host),
  });
  let isStopped = false;
  const stop = async () => {
    if (!isStopped) {
      isStopped = true;
      await server.stop();
    }
  };
  started.defer(stop);
  const destination = destinationAt(bench, server, "grpc");
  const during = async (prepared: readonly Prepared[]) => {
    const before = new Map(proxy.statements);
    const fleet = await openFleet(destination, MULTIPLEXED);
    await closedLoop(fleet, once(prepared), {});
    await fleet.close();
    return statementsSince(before, proxy.statements);
  };
  const prepareAll = (keys: typeof population.apiKeys) =>
    keys.map((key) => prepareQuestion(destination, aboutApiKey(key)));

  // The caller's own key, and connections to the database, are then there.
  await during(prepareAll(population.apiKeys.slice(-100)));
  const before = new Map(proxy.statements);
  await delay(IDLE_MILLIS);
  const idle = statementsSince(before, proxy.statements);
  const garbage = await during(
    Array.from({ length: isQuick ? KEYS : GARBAGE }, () => prepareQuestion(destination, aboutGarbage())),
  );
  const forGarbage = new Map([...garbage].filter(([text]) => !idle.has(text)));
  const keys = prepareAll(population.apiKeys.slice(0, KEYS));
  const cold = await during(keys);
  const forCold = new Map([...cold].filter(([text]) => !idle.has(text)));
  bench.say(`${sum(forGarbage)} statements for garbage, ${sum(forCold)} for ${KEYS} cold keys`);

  const atFirst = new Map(proxy.statements);
  await during(Array.from({ length: verifications }, (_, at) => keys[at % KEYS] as Prepared));
  // What it has kept in memory it writes down at the latest at its end.
  await stop();
  const writes = writesSince(atFirst, proxy.statements);
  bench.say(`${sum(writes)} writes for ${verifications} verifications of ${KEYS} keys`);
  const rows = (what: string, statements: ReadonlyMap<string, number>) =>
    [...statements].map(([text, count]) => [
      what,
      text.replaceAll(/\s+/g, " ").trim().replaceAll("|", "¦").slice(0, SHOWN),
      whole(count),
    ]);
  return {
    figures: [
      {
        name: "garbage keys: database calls",
        atLeast: "none",
        found: `${sum(forGarbage)} for ${whole(isQuick ? KEYS : GARBAGE)}`,
        isMet: sum(forGarbage) === 0,
      },
      {
        name: "cold key: statements",
        atLeast: "one each",
        found: hundredths(sum(forCold) / KEYS),
        isMet: sum(forCold) <= KEYS * 1.01,
      },
      {
        name: `database writes by ${whole(verifications)} verifications of ${whole(KEYS)} keys`,
        atLeast: "≤ 10 statements",
        found: whole(sum(writes)),
        isMet: sum(writes) <= 10,
      },
    ],
    tables: [
      {
        title: "Statements",
        head: ["by what", "statement", "times"],
        rows: [
          ...rows(`idle, ${IDLE_MILLIS / 1000} s`, idle),
          ...rows("garbage", forGarbage),
          ...rows(`${whole(KEYS)} cold keys`, forCold),
          ...rows(`${whole(verifications)} verifications, writes`, writes),
        ],
        notes: [
          "Every statement is counted by a proxy between Latchkey and PostgreSQL, up to the end of the drain.",
        ],
      },
    ],
    raw: Object.fromEntries(
      Object.entries({ idle, garbage, cold, writes }).map(([name, map]) => [name, Object.fromEntries(map)]),
    ),
  };
}
