import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Bench, Findings } from "../bench-context.ts";
import { startDatabaseProxy } from "../fixture/database-proxy.ts";
import { closedLoop } from "../load/closed-loop.ts";
import type { Destination, Prepared } from "../load/fleet.ts";
import { aboutApiKey, aboutGarbage } from "../questions.ts";
import { hundredths, whole } from "../report.ts";
import { destinationAt, MULTIPLEXED, once, openFleet, prepareQuestion } from "./asking.ts";

// What verifications ask of the database: every statement is counted on its way.

const KEYS = 1_000;
const GARBAGE = 10_000;
const IDLE_MILLIS = 3_000;
const SHOWN = 90;

export async function measureStatements(bench: Bench): Promise<Findings> {
  const { population, isQuick } = bench;
  const verifications = isQuick ? 5_000 : 100_000;
  const garbageKeys = isQuick ? KEYS : GARBAGE;
  // Without a call, from its start to its end: what the service does of its own accord.
  const idle = await countStatements(bench, async () => {
    await delay(IDLE_MILLIS);
  });
  const ofCalls = (statements: ReadonlyMap<string, number>) =>
    new Map([...statements].filter(([text]) => !idle.has(text)));
  const prepareAll = (at: Destination, keys: typeof population.apiKeys) =>
    keys.map((key) => prepareQuestion(at, aboutApiKey(key)));

  let garbage: Statements = new Map();
  let cold: Statements = new Map();
  await countStatements(bench, async (destination, statements) => {
    // The caller's own key is then known.
    await ask(destination, prepareAll(destination, population.apiKeys.slice(-100)));
    const atFirst = new Map(statements);
    await ask(
      destination,
      Array.from({ length: garbageKeys }, () => prepareQuestion(destination, aboutGarbage())),
    );
    garbage = ofCalls(statementsSince(atFirst, statements));
    const between = new Map(statements);
    await ask(destination, prepareAll(destination, population.apiKeys.slice(0, KEYS)));
    cold = ofCalls(statementsSince(between, statements));
  });
  const forGarbage = sum(lookupsIn(garbage));
  const forCold = sum(lookupsIn(cold));
  bench.say(`${forGarbage} lookups for garbage, ${forCold} for ${KEYS} cold keys`);

  // What it has kept in memory it writes down at the latest at its end.
  const all = await countStatements(bench, async (destination) => {
    const keys = prepareAll(destination, population.apiKeys.slice(0, KEYS));
    await ask(
      destination,
      Array.from({ length: verifications }, (_, at) => keys[at % KEYS] as Prepared),
    );
  });
  const writes = writesIn(ofCalls(all));
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
        name: "garbage keys: lookups in the database",
        atLeast: "none",
        found: `${whole(forGarbage)} for ${whole(garbageKeys)}`,
        isMet: forGarbage === 0,
      },
      {
        name: "cold key: lookups in the database",
        atLeast: "one each",
        found: hundredths(forCold / KEYS),
        // The caller's own state is renewed now and then.
        isMet: forCold <= KEYS * 1.01,
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
          ...rows("no calls", idle),
          ...rows(`${whole(garbageKeys)} garbage keys`, garbage),
          ...rows(`${whole(KEYS)} cold keys`, cold),
          ...rows(`${whole(verifications)} verifications, writes`, writes),
        ],
        notes: [
          `Every statement is counted by a proxy between Latchkey and PostgreSQL, up to the end of the drain. What is also executed without any call, in ${IDLE_MILLIS / 1000} s, is told once and left out of the rest.`,
        ],
      },
    ],
    raw: Object.fromEntries(
      Object.entries({ idle, garbage, cold, all }).map(([name, map]) => [name, Object.fromEntries(map)]),
    ),
  };
}

type Statements = ReadonlyMap<string, number>;

/** Runs a service of its own, and counts what it executes from when it listens to its end. */
async function countStatements(
  bench: Bench,
  work: (destination: Destination, statements: Statements) => Promise<void>,
): Promise<Statements> {
  const { database, databaseName } = bench;
  const folder = await mkdtemp(join(database.folder, "statements-"));
  const proxy = await startDatabaseProxy(folder, database.host);
  try {
    const databaseUrl = database.urlOf(databaseName, proxy.host);
    const server = await bench.startLatchkey("statements", { databaseUrl });
    const atFirst = new Map(proxy.statements);
    try {
      await work(destinationAt(bench, server, "grpc"), proxy.statements);
    } finally {
      await server.stop();
    }
    return statementsSince(atFirst, proxy.statements);
  } finally {
    proxy.stop();
  }
}

async function ask(destination: Destination, prepared: readonly Prepared[]): Promise<void> {
  const fleet = await openFleet(destination, MULTIPLEXED);
  await closedLoop(fleet, once(prepared), {});
  await fleet.close();
}

const WRITES =
  /\b(insert\s+into|delete\s+from|merge\s+into|copy|truncate)\b|(?<!for\s)(?<!key\s)(?<!do\s)\bupdate\b/i;
const BRACKETS = /^\s*(begin|start|commit|rollback|savepoint|release|set)\b/i;

function writesIn(statements: Statements): Statements {
  return new Map([...statements].filter(([text]) => WRITES.test(text)));
}

function lookupsIn(statements: Statements): Statements {
  return new Map([...statements].filter(([text]) => !WRITES.test(text) && !BRACKETS.test(text)));
}

function statementsSince(before: Statements, now: Statements): Statements {
  return new Map(
    [...now]
      .map(([text, count]) => [text, count - (before.get(text) ?? 0)] as const)
      .filter(([, count]) => count > 0),
  );
}

function sum(statements: Statements): number {
  return [...statements.values()].reduce((total, count) => total + count, 0);
}
