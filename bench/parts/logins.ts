import { create, toBinary } from "@bufbuild/protobuf";
import { IssueTokenRequestSchema } from "../../src/gen/latchkey/v1/token_pb.ts";
import type { Bench, Findings } from "../bench-context.ts";
import type { Server } from "../fixture/server.ts";
import { closedLoop } from "../load/closed-loop.ts";
import { prepare } from "../load/fleet.ts";
import { type Latencies, openLoop } from "../load/open-loop.ts";
import { aboutApiKey } from "../questions.ts";
import { hundredths, ratioFigure, tenths } from "../report.ts";
import { median, quantile } from "../statistics.ts";
import { destinationAt, MULTIPLEXED, openFleet, prepareQuestion, repeating } from "./asking.ts";

// What a flood of logins does to the verifications beside it, on the same core.

const LOGINS = 20;
const RATE = 2000;

export async function measureLogins(bench: Bench): Promise<Findings> {
  const { isQuick } = bench;
  const rounds = isQuick ? 1 : 4;
  const millis = isQuick ? 1000 : 3000;
  const server = await bench.startLatchkey("logins");
  try {
    await verify(bench, server, 2 * millis);
    const idle: Latencies[] = [];
    const beside: Latencies[] = [];
    const perSecond: number[] = [];
    for (let round = 0; round < rounds; round++) {
      idle.push(await verify(bench, server, millis));
      const flood = await startLogins(bench, server);
      beside.push(await verify(bench, server, millis));
      perSecond.push(await flood.stop());
      bench.say(`round ${round + 1} of ${rounds}: ${tenths(perSecond.at(-1) ?? 0)} logins a second`);
    }
    const at = (measured: readonly Latencies[], share: number) =>
      median(measured.map(({ millis }) => quantile(millis, share)));
    const keepsUp = idle.every(({ keptUp }) => keptUp);
    const figure = ratioFigure(
      `p99 beside ${LOGINS} concurrent logins`,
      at(beside, 0.99) / at(idle, 0.99),
      3,
      "idle",
    );
    const row = (title: string, measured: readonly Latencies[], logins: number) => [
      title,
      tenths(logins),
      ...[0.5, 0.99, 0.999].map((share) => hundredths(at(measured, share))),
    ];
    return {
      figures: [
        keepsUp ? figure : { ...figure, found: `idle, it does not keep up with ${RATE}/s`, isMet: undefined },
      ],
      tables: [
        {
          title: `Beside ${LOGINS} logins at a time without end`,
          head: ["verifications", "logins/s", "p50 ms", "p99 ms", "p99.9 ms"],
          rows: [row("alone", idle, 0), row("beside logins", beside, median(perSecond))],
          notes: [
            `${RATE} verifications a second of cached API keys over gRPC, on one core with the logins.`,
          ],
        },
      ],
      raw: { idle: idle.map(summary), beside: beside.map(summary), loginsPerSecond: perSecond },
    };
  } finally {
    await server.stop();
  }
}

function summary({ millis, keptUp }: Latencies) {
  const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => quantile(millis, share));
  return { p50, p99, p999, keptUp };
}

async function verify(bench: Bench, server: Server, millis: number): Promise<Latencies> {
  const destination = destinationAt(bench, server, "grpc");
  const prepared = bench.population.apiKeys.map((key) => prepareQuestion(destination, aboutApiKey(key)));
  const fleet = await openFleet(destination, MULTIPLEXED);
  try {
    return await openLoop(fleet, repeating(prepared), { rate: RATE, millis, spins: bench.cores.areApart });
  } finally {
    await fleet.close();
  }
}

/** Logs people in with their right passwords, so many at a time. */
async function startLogins(bench: Bench, server: Server): Promise<{ stop(): Promise<number> }> {
  const { people, password } = bench.population;
  const at = destinationAt(bench, server, "connect proto", "/latchkey.v1.TokenService/IssueToken");
  const destination = { ...at, headers: [] };
  const prepared = people.map(({ email }) => {
    const grant = { case: "password", value: { email, password } } as const;
    const message = toBinary(IssueTokenRequestSchema, create(IssueTokenRequestSchema, { grant }));
    return prepare(destination, message, true, () => {});
  });
  const fleet = await openFleet(destination, { connections: LOGINS, streams: 1 });
  let isOver = false;
  const next = repeating(prepared);
  const over = closedLoop(fleet, () => (isOver ? undefined : next()), {});
  return {
    async stop() {
      isOver = true;
      const { answers, seconds } = await over;
      await fleet.close();
      return answers / seconds;
    },
  };
}
