import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { ApiKeyService } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import type { Bench, Findings } from "../bench-context.ts";
import { startDatabaseProxy } from "../fixture/database-proxy.ts";
import type { Key } from "../fixture/populate.ts";
import type { Server } from "../fixture/server.ts";
import type { Connection } from "../load/connection.ts";
import type { Fleet, Prepared } from "../load/fleet.ts";
import { aboutApiKey, statusOf } from "../questions.ts";
import { tenths, whole } from "../report.ts";
import { quantile } from "../statistics.ts";
import { destinationAt, openFleet, prepareQuestion } from "./asking.ts";

// How long after one replica has answered that a key is revoked the other one still lets it in.

/** How often another one begins to be revoked where many are awaited at once, and how often is asked about each. */
const POLLING_EVERY_MILLIS = 100;
const ASK_EVERY_MILLIS = 5;
const STAYS_REFUSED = 5;
const LONGEST_MILLIS = 20_000;

export async function measureRevocationLag(bench: Bench): Promise<Findings> {
  const { database, databaseName, cores, isQuick } = bench;
  const [notified, polled] = isQuick ? [50, 10] : [500, 100];
  const proxy = await startDatabaseProxy(await mkdtemp(join(database.folder, "revocations-")), database.host);
  await using started = new AsyncDisposableStack();
  started.defer(() => proxy.stop());
  // Both need little, and the load as well: they share the cores.
  const one = await bench.startLatchkey("replica-1", { through: cores.shared });
  started.defer(() => one.stop());
  const other = await bench.startLatchkey("replica-2", {
    through: cores.shared,
    databaseUrl: database.urlOf(databaseName, proxy.host),
  });
  started.defer(() => other.stop());
  const keys = bench.population.revocableApiKeys;
  const byNotification = await oneByOne(bench, one, other, keys.slice(0, notified));
  bench.say(`${notified} revocations, with notifications`);
  proxy.dropNotifications();
  const byPolling = await manyAtOnce(bench, one, other, keys.slice(notified, notified + polled));
  bench.say(`${polled} revocations, by polling alone: ${proxy.dropped} notifications were kept back`);
  const p99 = { byNotification: quantile(byNotification, 0.99), byPolling: quantile(byPolling, 0.99) };
  const row = (title: string, lags: readonly number[]) => [
    title,
    whole(lags.length),
    ...[0.5, 0.99, 1].map((share) => tenths(quantile(lags, share))),
  ];
  return {
    figures: [
      {
        name: "revocation lag, two replicas, with notifications: p99",
        atLeast: "< 100 ms",
        found: `${tenths(p99.byNotification)} ms`,
        isMet: p99.byNotification < 100,
      },
      {
        name: "revocation lag, two replicas, by polling alone: p99",
        atLeast: "< 1,500 ms",
        found: `${tenths(p99.byPolling)} ms`,
        // Where nothing is notified, it is not known what it does without.
        isMet: proxy.dropped === 0 ? undefined : p99.byPolling < 1500,
      },
    ],
    tables: [
      {
        title: "Revocation lag",
        head: ["how the other replica hears of it", "revocations", "p50 ms", "p99 ms", "max ms"],
        rows: [row("notifications", byNotification), row("polling alone", byPolling)],
        notes: [
          "From the answer of RevokeApiKey at one replica to the first refusal at the other. Notifications are kept back by a proxy between that one and PostgreSQL.",
          `Of these there were ${proxy.dropped}.`,
        ],
      },
    ],
    raw: { byNotification, byPolling, notificationsKeptBack: proxy.dropped },
  };
}

/** Each is asked about without a pause while it is revoked. */
async function oneByOne(bench: Bench, one: Server, other: Server, keys: readonly Key[]): Promise<number[]> {
  const destination = destinationAt(bench, other, "grpc");
  const fleet = await openFleet(destination, { connections: 1, streams: 1 });
  const [connection] = fleet.connections;
  const lags: number[] = [];
  for (const key of keys) {
    const asked = prepareQuestion(destination, aboutApiKey(key));
    lags.push(await lagOf(bench, one, key, () => ask(fleet, connection, asked), 0));
  }
  await fleet.close();
  return lags;
}

/** They overlap, since each takes up to a second. */
async function manyAtOnce(bench: Bench, one: Server, other: Server, keys: readonly Key[]): Promise<number[]> {
  const destination = destinationAt(bench, other, "grpc");
  const fleet = await openFleet(destination, { connections: 1, streams: keys.length });
  const [connection] = fleet.connections;
  const lags = await Promise.all(
    keys.map(async (key, at) => {
      await delay(at * POLLING_EVERY_MILLIS);
      const asked = prepareQuestion(destination, aboutApiKey(key));
      return await lagOf(bench, one, key, () => ask(fleet, connection, asked), ASK_EVERY_MILLIS);
    }),
  );
  await fleet.close();
  return lags;
}

/** @param ask whether it is let in. @returns milliseconds. */
async function lagOf(
  bench: Bench,
  one: Server,
  key: Key,
  ask: () => Promise<boolean>,
  everyMillis: number,
): Promise<number> {
  for (let at = 0; at < 3; at++) {
    if (!(await ask())) {
      throw new Error("a key was refused before it was revoked");
    }
  }
  let revokedAt: number | undefined;
  const revoked = manage(bench, one, key)
    .revokeApiKey({ id: key.id, reason: "bench" })
    .then(() => {
      revokedAt = performance.now();
    });
  const began = performance.now();
  while (await ask()) {
    if (performance.now() - began > LONGEST_MILLIS) {
      throw new Error(`a revoked key was let in for ${LONGEST_MILLIS} ms`);
    }
    if (everyMillis > 0) {
      await delay(everyMillis);
    }
  }
  const refusedAt = performance.now();
  await revoked;
  for (let at = 0; at < STAYS_REFUSED; at++) {
    if (await ask()) {
      throw new Error("a key was let in after it had been refused");
    }
  }
  // It may be refused here before the other one has said so.
  return Math.max(0, refusedAt - (revokedAt ?? refusedAt));
}

const clients = new WeakMap<Server, Map<string, Client<typeof ApiKeyService>>>();

function manage(
  { population }: Bench,
  server: Server,
  { organizationId }: Key,
): Client<typeof ApiKeyService> {
  const ofServer = clients.get(server) ?? new Map<string, Client<typeof ApiKeyService>>();
  clients.set(server, ofServer);
  const known = ofServer.get(organizationId);
  if (known !== undefined) {
    return known;
  }
  const transport = createConnectTransport({
    baseUrl: `http://127.0.0.1:${server.ports["http"]}`,
    httpVersion: "1.1",
    useBinaryFormat: true,
    interceptors: [
      (next) => (request) => {
        request.header.set("x-internal-key", population.administrator.text);
        request.header.set("x-org-id", organizationId);
        return next(request);
      },
    ],
  });
  const client = createClient(ApiKeyService, transport);
  ofServer.set(organizationId, client);
  return client;
}

const ALLOWED = statusOf("grpc", true);
const REFUSED = statusOf("grpc", false);

/** @returns whether it is let in. @throws Error for any other answer. */
async function ask(fleet: Fleet, connection: Connection | undefined, asked: Prepared): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  connection?.send(asked.request, ({ status }) => {
    if (status === ALLOWED || status === REFUSED) {
      resolve(status === ALLOWED);
    } else {
      reject(new Error(`answered with the status ${status}`));
    }
  });
  return await Promise.race([promise, fleet.failure]);
}
