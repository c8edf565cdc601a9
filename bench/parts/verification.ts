import { mkdirSync } from "node:fs";
import type { Bench, Findings } from "../bench-context.ts";
import type { Server } from "../fixture/server.ts";
import { closedLoop, type Meters, type Throughput } from "../load/closed-loop.ts";
import type { Prepared, Traffic } from "../load/fleet.ts";
import { prepare } from "../load/fleet.ts";
import { type Latencies, openLoop } from "../load/open-loop.ts";
import {
  aboutApiKey,
  aboutGarbage,
  aboutServiceKey,
  aboutToken,
  aboutUnknownKey,
  checkBatch,
  encodeBatch,
  type Protocol,
  type Question,
} from "../questions.ts";
import { hundredths, megabytes, ratioFigure, tenths, whole } from "../report.ts";
import { median, quantile } from "../statistics.ts";
import {
  destinationAt,
  MULTIPLEXED,
  ONE_EACH,
  once,
  openFleet,
  prepareQuestion,
  repeating,
  type Spread,
} from "./asking.ts";
import { type Baseline, collectAnswers, startBaseline } from "./baselines.ts";

// What a verification costs: of the baselines and of Latchkey, by protocol and by credential.

type Target = Baseline | "latchkey";

interface Row {
  /** For the command line. */
  readonly id: string;
  readonly title: string;
  readonly target: Target;
  readonly protocol: Protocol;
  readonly spread: Spread;
  /** Asked over and over. */
  readonly hot?: (bench: Bench) => readonly Question[];
  /** Asked once each: what is left of them is shared by the rounds. */
  readonly cold?: (bench: Bench) => Iterable<Question>;
  /** How many are asked about in one call. */
  readonly batch?: number;
  /** Calls a second of the open loop. */
  readonly rate?: number;
}

const RATE = 2000;
/** Each is asked once: there have to be enough of them. */
const COLD_RATE = 500;
const BATCH = 100;
const BATCHES: Spread = { connections: 4, streams: 2 };

const apiKeys = ({ population }: Bench) => population.apiKeys.map(aboutApiKey);
const baseline = (id: string, title: string, target: Baseline, protocol: Protocol, spread: Spread): Row => ({
  id,
  title,
  target,
  protocol,
  spread,
  hot: apiKeys,
});

const ROWS: readonly Row[] = [
  baseline("bare-grpc", "bare node:http2, gRPC", "bare-http2", "grpc", MULTIPLEXED),
  baseline("bare-grpc-1", "the same, one stream a connection", "bare-http2", "grpc", ONE_EACH),
  baseline("bare-proto", "bare node:http, Connect proto", "bare-http1", "connect proto", ONE_EACH),
  baseline("bare-json", "bare node:http, Connect JSON", "bare-http1", "connect json", ONE_EACH),
  baseline("grpc-js", "@grpc/grpc-js", "grpc-js", "grpc", MULTIPLEXED),
  baseline("connect-node-grpc", "connect-node, gRPC", "connect-node", "grpc", MULTIPLEXED),
  baseline("connect-node-proto", "connect-node, Connect proto h1", "connect-node", "connect proto", ONE_EACH),
  baseline("select", "bare node:http, one prepared SELECT", "select", "connect proto", ONE_EACH),
  latchkey("api-key", "gRPC, cached API key", "grpc", MULTIPLEXED, { hot: apiKeys }),
  latchkey("token", "gRPC, cached token", "grpc", MULTIPLEXED, {
    hot: ({ population }) => population.tokens.map(aboutToken),
  }),
  latchkey("internal-key", "gRPC, cached internal key", "grpc", MULTIPLEXED, {
    hot: ({ population }) => population.serviceKeys.map(aboutServiceKey),
  }),
  latchkey("api-key-1", "gRPC, one stream a connection, cached API key", "grpc", ONE_EACH, { hot: apiKeys }),
  latchkey("proto", "Connect proto h1, cached API key", "connect proto", ONE_EACH, { hot: apiKeys }),
  latchkey("json", "Connect JSON h1, cached API key", "connect json", ONE_EACH, { hot: apiKeys }),
  latchkey("cold-key", "Connect proto h1, cold API key", "connect proto", ONE_EACH, {
    cold: ({ population }) => population.coldApiKeys.map(aboutApiKey),
    rate: COLD_RATE,
  }),
  latchkey("cold-token", "Connect proto h1, cold token", "connect proto", ONE_EACH, {
    cold: ({ population }) => population.coldTokens.map(aboutToken),
    rate: COLD_RATE,
  }),
  latchkey("unknown", "gRPC, unknown well-formed key", "grpc", MULTIPLEXED, {
    cold: function* () {
      for (;;) {
        yield aboutUnknownKey();
      }
    },
    rate: COLD_RATE,
  }),
  latchkey("garbage", "gRPC, garbage key", "grpc", MULTIPLEXED, {
    hot: () => Array.from({ length: 10_000 }, aboutGarbage),
  }),
  latchkey("batch", `gRPC, BatchAuthenticate of ${BATCH}, cached API keys`, "grpc", BATCHES, {
    hot: apiKeys,
    batch: BATCH,
    rate: RATE / BATCH,
  }),
];

function latchkey(
  id: string,
  title: string,
  protocol: Protocol,
  spread: Spread,
  more: Pick<Row, "hot" | "cold" | "batch" | "rate">,
): Row {
  return { id, title: `Latchkey: ${title}`, target: "latchkey", protocol, spread, ...more };
}

export const ROW_NAMES: readonly string[] = ROWS.map(({ id }) => id);

interface Measured {
  readonly throughputs: Throughput[];
  readonly latencies: Latencies[];
  readonly residentBytes: number[];
  failure?: string;
}

interface Plan {
  readonly rounds: number;
  readonly openRounds: number;
  readonly warmMillis: number;
  readonly closedMillis: number;
  readonly openMillis: number;
  /** How many calls a round of cold ones has. */
  readonly coldCalls: number;
}

const FULL: Plan = {
  rounds: 5,
  openRounds: 3,
  warmMillis: 1500,
  closedMillis: 1200,
  openMillis: 1500,
  coldCalls: 3000,
};
const QUICK: Plan = {
  rounds: 2,
  openRounds: 1,
  warmMillis: 700,
  closedMillis: 700,
  openMillis: 500,
  coldCalls: 700,
};

/** How many cold credentials of a kind this takes. */
export function coldNeeded(isQuick: boolean): number {
  const plan = isQuick ? QUICK : FULL;
  const open = Math.ceil((COLD_RATE * plan.openMillis) / 1000);
  return (plan.rounds + 1) * plan.coldCalls + plan.openRounds * open;
}

export async function measureVerification(bench: Bench): Promise<Findings> {
  const plan = bench.isQuick ? QUICK : FULL;
  const rows = bench.rows === undefined ? ROWS : ROWS.filter(({ id }) => bench.rows?.includes(id));
  await using servers = await startServers(bench, new Set(rows.map(({ target }) => target)));
  const stations = new Map(rows.map((row) => [row, station(bench, row, servers.of(row.target))]));
  const results = new Map<Row, Measured>(
    rows.map((row) => [row, { throughputs: [], latencies: [], residentBytes: [] }]),
  );
  const each = async (what: string, work: (at: Station, into: Measured) => Promise<void>) => {
    for (const [row, at] of stations) {
      const into = results.get(row) as Measured;
      if (into.failure === undefined) {
        await work(at, into).catch((error: Error) => {
          // One that cannot be measured must not keep the others from it.
          into.failure = error.message;
          bench.say(`${row.title}: ${error.message}`);
        });
      }
    }
    bench.say(what);
  };
  await each("warmed up", async (at) => {
    await at.askAll();
    await at.closed(plan.warmMillis, plan.coldCalls);
  });
  for (let round = 1; round <= plan.rounds; round++) {
    await each(`round ${round} of ${plan.rounds}`, async (at, into) => {
      into.throughputs.push(await at.closed(plan.closedMillis, plan.coldCalls));
      into.residentBytes.push(Math.max(...at.server.usage.residentBytes()));
    });
  }
  for (let round = 1; round <= plan.openRounds; round++) {
    await each(`round ${round} of ${plan.openRounds} at a fixed rate`, async (at, into) => {
      into.latencies.push(await at.open(plan.openMillis));
    });
  }
  return findingsOf(rows, results);
}

async function startServers(bench: Bench, targets: ReadonlySet<Target>) {
  const { profileFolder } = bench;
  const nodeOptions = profileFolder === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileFolder}`];
  if (profileFolder !== undefined) {
    mkdirSync(profileFolder, { recursive: true });
  }
  await using started = new AsyncDisposableStack();
  const servers = new Map<Target, Server>();
  const latchkeyOptions = targets.has("latchkey") ? { nodeOptions } : {};
  const ours = await bench.startLatchkey("latchkey", latchkeyOptions);
  started.defer(() => ours.stop());
  servers.set("latchkey", ours);
  bench.say("Latchkey listens");
  const answers = await collectAnswers(bench, ours);
  bench.say("it has answered about every key, and each answer is right");
  for (const target of targets) {
    if (target !== "latchkey") {
      const server = await startBaseline(bench, target, answers, nodeOptions);
      started.defer(() => server.stop());
      servers.set(target, server);
    }
  }
  const owned = started.move();
  return {
    of(target: Target): Server {
      const server = servers.get(target);
      if (server === undefined) {
        throw new Error(`${target} was not started`);
      }
      return server;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface Station {
  readonly server: Server;
  /** Asks once each of what is asked over and over: a row of cached credentials is one of cached credentials. */
  askAll(): Promise<void>;
  /** @param millis how long, of what is asked over and over. @param calls how many, of what is asked once. */
  closed(millis: number, calls: number): Promise<Throughput>;
  open(millis: number): Promise<Latencies>;
}

/** The row's server, and what it is asked. */
function station(bench: Bench, row: Row, server: Server): Station {
  const path = row.batch === undefined ? undefined : "/latchkey.v1.AuthenticationService/BatchAuthenticate";
  const destination = destinationAt(bench, server, row.protocol, path);
  const meters: Meters = {
    server: () => server.usage.cpuMicros(),
    postgres: () => bench.database.usage.cpuMicros(),
  };
  let prepared: readonly Prepared[] | undefined;
  const hot = (questions: readonly Question[]): readonly Prepared[] => {
    prepared ??=
      row.batch === undefined
        ? questions.map((question) => prepareQuestion(destination, question))
        : inBatches(questions, row.batch).map((some) =>
            prepare(destination, encodeBatch(some), true, (answer) => checkBatch(some, answer)),
          );
    return prepared;
  };
  const cold = row.cold?.(bench)[Symbol.iterator]();
  const take = (count: number): Prepared[] =>
    Array.from({ length: count }, () => {
      const { done, value } = cold?.next() ?? { done: true };
      if (done === true || value === undefined) {
        throw new Error("there are not enough cold credentials");
      }
      return prepareQuestion(destination, value);
    });
  const traffic = (calls: number): Traffic =>
    row.hot === undefined ? once(take(calls)) : repeating(hot(row.hot(bench)));

  const withFleet = async <Result>(
    work: (fleet: Awaited<ReturnType<typeof openFleet>>) => Promise<Result>,
  ) => {
    const fleet = await openFleet(destination, row.spread);
    try {
      return await work(fleet);
    } finally {
      await fleet.close();
    }
  };
  return {
    server,
    askAll: async () => {
      if (row.hot !== undefined) {
        const all = hot(row.hot(bench));
        await withFleet((fleet) => closedLoop(fleet, once(all), meters));
      }
    },
    closed: async (millis, calls) => {
      const asked = traffic(calls);
      return await withFleet((fleet) =>
        closedLoop(fleet, asked, meters, row.hot === undefined ? undefined : millis),
      );
    },
    open: async (millis) => {
      const rate = row.rate ?? RATE;
      const asked = traffic(Math.ceil((rate * millis) / 1000));
      return await withFleet((fleet) =>
        openLoop(fleet, asked, { rate, millis, spins: bench.cores.areApart }),
      );
    },
  };
}

function inBatches(questions: readonly Question[], size: number): Question[][] {
  return Array.from({ length: Math.floor(questions.length / size) }, (_, at) =>
    questions.slice(at * size, (at + 1) * size),
  );
}

function findingsOf(rows: readonly Row[], results: ReadonlyMap<Row, Measured>): Findings {
  const summaries = new Map(
    rows.map((row) => [row.id, summaryOf(row, results.get(row) as Measured)] as const),
  );
  const of = (id: string, name: keyof Omit<Summary, "failure">) => summaries.get(id)?.[name] ?? Number.NaN;
  const cpu = (id: string) => of(id, "cpu");
  const bare = cpu("bare-grpc");
  const table = {
    title: "Verification",
    head: ["server", "req/s", "CPU µs", "PG µs", "× bare gRPC", "p50 ms", "p99 ms", "RSS MB", "load"],
    rows: rows.map((row) => {
      const found = summaries.get(row.id) as Summary;
      if (found.failure !== undefined) {
        return [row.title, `failed: ${found.failure.slice(0, 60)}`];
      }
      return [
        row.title,
        whole(found.perSecond),
        tenths(found.cpu),
        tenths(found.postgresCpu),
        hundredths(found.cpu / bare),
        hundredths(found.p50),
        hundredths(found.p99),
        megabytes(found.resident).replace(" MB", ""),
        `${Math.round(found.loadShare * 100)} %`,
      ];
    }),
    notes: [
      `Of a batch everything is by decision. p50 and p99 are at ${RATE} requests a second, of cold and unknown credentials at ${COLD_RATE}. ∞: it does not keep up with that. "load" is what the load took of its core.`,
    ],
  };
  const both = (id: string) => cpu(id) + of(id, "postgresCpu");
  const figures = [
    ratioFigure("gRPC, cached API key: CPU", cpu("api-key") / bare, 1, "the bare handler"),
    ratioFigure("gRPC, cached API key: CPU", cpu("api-key") / cpu("grpc-js"), 0.7, "grpc-js"),
    ratioFigure(
      "gRPC, cached API key: CPU",
      cpu("api-key") / cpu("connect-node-grpc"),
      0.2,
      "plain connect-node",
    ),
    ratioFigure("cached token: CPU", cpu("token") / cpu("api-key"), 1.1, "a cached API key"),
    ratioFigure("internal key: CPU", cpu("internal-key") / cpu("api-key"), 1.1, "a cached API key"),
    ratioFigure(
      "Connect proto over HTTP/1.1: CPU",
      cpu("proto") / cpu("bare-proto"),
      1.1,
      "the bare handler",
    ),
    ratioFigure(
      "Connect proto over HTTP/1.1: CPU",
      cpu("proto") / cpu("connect-node-proto"),
      0.35,
      "plain connect-node",
    ),
    ratioFigure("Connect JSON over HTTP/1.1: CPU", cpu("json") / cpu("proto"), 1.3, "proto"),
    {
      name: `BatchAuthenticate of ${BATCH}: decisions/s`,
      atLeast: "≥ 8 × single calls",
      found: `${(of("batch", "perSecond") / of("api-key", "perSecond")).toFixed(2)} ×`,
      isMet: of("batch", "perSecond") / of("api-key", "perSecond") >= 8,
    },
    ratioFigure("garbage key: CPU", cpu("garbage") / cpu("api-key"), 1, "a cached API key"),
    ratioFigure("cold key: CPU of both processes", both("cold-key") / both("select"), 1.3, "the bare SELECT"),
  ].map((figure) => (figure.found.startsWith("NaN") ? { ...figure, isMet: undefined } : figure));
  return {
    figures: rows.length === ROWS.length ? figures : [],
    tables: [table],
    raw: Object.fromEntries(
      rows.map((row) => {
        const { throughputs, failure } = results.get(row) as Measured;
        return [row.id, { title: row.title, ...summaries.get(row.id), throughputs, failure }];
      }),
    ),
  };
}

/** Medians of the rounds; of a batch, by decision. */
interface Summary {
  readonly perSecond: number;
  /** Microseconds of the server's. */
  readonly cpu: number;
  /** Microseconds of PostgreSQL's. */
  readonly postgresCpu: number;
  readonly p50: number;
  readonly p99: number;
  readonly resident: number;
  readonly loadShare: number;
  readonly failure: string | undefined;
}

function summaryOf(
  { batch = 1 }: Row,
  { throughputs, latencies, residentBytes, failure }: Measured,
): Summary {
  const each = (value: (round: Throughput) => number) => median(throughputs.map(value));
  const micros = (whose: string) =>
    each(({ cpuMicros, answers }) => (cpuMicros[whose] ?? 0) / answers / batch);
  const keptUp = latencies.every((round) => round.keptUp);
  const at = (share: number) =>
    keptUp ? median(latencies.map(({ millis }) => quantile(millis, share))) : Number.POSITIVE_INFINITY;
  return {
    perSecond: each(({ answers, seconds }) => (answers * batch) / seconds),
    cpu: failure === undefined ? micros("server") : Number.NaN,
    postgresCpu: micros("postgres"),
    p50: at(0.5),
    p99: at(0.99),
    resident: median(residentBytes),
    loadShare: each(({ loadShare }) => loadShare),
    failure,
  };
}
