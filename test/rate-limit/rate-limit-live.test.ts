import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import type { RateLimit } from "../../src/credentials/rate-limit.ts";
import { RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { creditOf } from "../../src/rate-limit/shared-rate-limiter.ts";
import { parseDatabaseUrl } from "../../src/storage/database-connection.ts";
import { type AddedKey, addApiKey } from "../access/cast.ts";
import { startProxy } from "../cli/database-proxy.ts";
import { query } from "../support/cluster.ts";
import { cleanup } from "../support/process.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  AuthenticationService,
  startService,
  type TestService,
  transportTo,
  WIRES,
} from "../support/service.ts";
import { until } from "../support/until.ts";

const DAY = 86_400;

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

async function setLimit({ id }: AddedKey, limit: RateLimit | undefined): Promise<void> {
  await query(
    service.connection,
    "update api_keys set rate_limit_requests = $2, rate_limit_window_seconds = $3 where id = $1",
    [id, limit?.requests ?? null, limit?.windowSeconds ?? null],
  );
}

async function newKey(requests: number, windowSeconds = DAY): Promise<AddedKey> {
  const { core, organizationId, admin } = service;
  const asked = { organizationId, owner: { userId: admin.id }, permissions: ["calls.read"] };
  const key = await addApiKey(core, asked);
  await setLimit(key, { requests, windowSeconds });
  return key;
}

function authenticate({ text }: AddedKey, at: TestService = service, asked: object = {}) {
  const headers = [{ name: "X-API-Key", value: text }];
  return at.client(AuthenticationService).authenticate({ headers, ...asked });
}

/** Starts replicas, and waits until the service knows that it is not the only one any more. */
async function startReplicas(t: TestContext, count: number): Promise<TestService[]> {
  const replicas: TestService[] = [];
  for (let at = 0; at < count; at++) {
    const replica = await startService({ beside: service });
    cleanup(t).defer(() => replica.stop());
    replicas.push(replica);
  }
  const since = await now();
  const seen = async () =>
    await query(
      service.connection,
      `select from rate_limit_replicas where seen_time > $1::timestamptz + interval '100 ms'`,
      [since],
    );
  await until("all have asked since then", async () => (await seen()).length > count);
  return replicas;
}

async function now(): Promise<string> {
  const [row] = await query<{ now: string }>(service.connection, "select now()::text as now");
  return row?.now ?? assert.fail();
}

test("a burst of calls at a lone replica is allowed to exactly the limit", async () => {
  const key = await newKey(20);
  const reasons = await Promise.all(Array.from({ length: 50 }, () => reasonOf(authenticate(key))));
  assert.equal(reasons.filter((reason) => reason === undefined).length, 20);
  assert.equal(reasons.filter((reason) => reason === "RATE_LIMITED").length, 30);
});

for (const { protocol, http } of WIRES) {
  test(`${protocol} over HTTP/${http} says resource_exhausted, and when to come again`, async () => {
    const key = await newKey(1);
    await authenticate(key);
    const headers = [{ name: "X-API-Key", value: key.text }];
    const client = createClient(AuthenticationService, transportTo(service.url, protocol, http));
    const own = createClient(
      AuthenticationService,
      transportTo(service.url, protocol, http, { "x-api-key": key.text }),
    );
    // Whether the key is asked about, or is the call's own.
    for (const call of [() => client.authenticate({ headers }), () => own.whoAmI({})]) {
      const error = await refusedWith("RATE_LIMITED", call());
      const [info, ...others] = error.findDetails(RetryInfoSchema);
      assert.deepEqual(others, []);
      const untilMidnight = DAY * 1000 - (Date.now() % (DAY * 1000));
      const millis = durationMs(info?.retryDelay ?? assert.fail("no RetryInfo"));
      assert.ok(Math.abs(millis - untilMidnight) < 60_000, `${millis}`);
      assert.equal(Number(error.metadata.get("retry-after")), Math.ceil(millis / 1000));
    }
  });
}

test("plain HTTP says 429 with Retry-After", async () => {
  const key = await newKey(1);
  const call = () =>
    fetch(`${service.url}/latchkey.v1.AuthenticationService/WhoAmI`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-api-key": key.text },
      body: "{}",
    });
  const first = await call();
  assert.deepEqual([first.status, first.headers.get("retry-after")], [200, null]);
  await first.body?.cancel();
  const second = await call();
  assert.equal(second.status, 429);
  assert.match(second.headers.get("retry-after") ?? "", /^[1-9]\d*$/);
  const { details } = (await second.json()) as { details: { type: string; debug: unknown }[] };
  assert.deepEqual(
    details.map(({ type }) => type),
    ["google.rpc.ErrorInfo", "google.rpc.RetryInfo", "google.rpc.RequestInfo"],
  );
});

test("only good decisions use up the limit, and to explain one does not", async () => {
  const key = await newKey(2);
  const admin = service.client(AuthenticationService, { authorization: `Bearer ${await service.logIn()}` });
  const headers = [{ name: "X-API-Key", value: key.text }];
  for (let turn = 0; turn < 5; turn++) {
    const denied = authenticate(key, service, { requiredPermissions: ["auth.users.write"] });
    await refusedWith("PERMISSION_DENIED", denied);
    assert.ok((await admin.explain({ request: { headers } })).allowed);
  }
  await authenticate(key);
  await authenticate(key);
  await refusedWith("RATE_LIMITED", authenticate(key));
  // It is valid all the same.
  assert.ok((await admin.explain({ request: { headers } })).allowed);
});

test("other keys, internal keys and tokens are not held up", async () => {
  const key = await newKey(1);
  await authenticate(key);
  await refusedWith("RATE_LIMITED", authenticate(key));
  const { apiKey, internalKey } = service;
  const token = await service.logIn();
  const unlimited = [
    { name: "X-API-Key", value: apiKey },
    { name: "X-Internal-Key", value: internalKey },
    { name: "Authorization", value: `Bearer ${token}` },
  ];
  for (const header of unlimited) {
    for (let turn = 0; turn < 3; turn++) {
      await service.client(AuthenticationService).authenticate({ headers: [header] });
    }
  }
});

test("the next window is a new one", async () => {
  const key = await newKey(2, 1);
  let windows = 0;
  await until("three windows have been used up", async () => {
    const error = await authenticate(key).then(
      () => undefined,
      (thrown: unknown) => ConnectError.from(thrown),
    );
    if (error !== undefined) {
      await refusedWith("RATE_LIMITED", Promise.reject(error));
      const [info] = error.findDetails(RetryInfoSchema);
      const millis = durationMs(info?.retryDelay ?? assert.fail());
      assert.ok(millis > 0 && millis <= 1_000, `${millis}`);
      await until("it is let in again", async () => (await reasonOf(authenticate(key))) === undefined, {
        within: millis + 2_000,
      });
      windows++;
    }
    return windows === 3;
  });
});

test("a limit that is changed, set or taken away holds on every replica's next call", async (t) => {
  const [replica] = await startReplicas(t, 1);
  assert.ok(replica);
  const key = await newKey(100);
  await authenticate(key);
  await authenticate(key, replica);
  await setLimit(key, { requests: 1, windowSeconds: DAY });
  for (const at of [service, replica]) {
    await refusedWith("RATE_LIMITED", authenticate(key, at));
  }
  await setLimit(key, undefined);
  for (const at of [service, replica]) {
    for (let turn = 0; turn < 10; turn++) {
      await authenticate(key, at);
    }
  }
  await setLimit(key, { requests: 1, windowSeconds: DAY });
  for (const at of [service, replica]) {
    await refusedWith("RATE_LIMITED", authenticate(key, at));
  }
});

test("three replicas under load allow together the limit, and no more beyond it than is stated", async (t) => {
  const replicas = [service, ...(await startReplicas(t, 2))];
  const limit = { requests: 60, windowSeconds: DAY };
  const key = await newKey(limit.requests);
  let allowed = 0;
  const use = async (at: TestService) => {
    let isOver = false;
    while (!isOver) {
      const error = await authenticate(key, at).then(
        () => undefined,
        (thrown: unknown) => ConnectError.from(thrown),
      );
      if (error === undefined) {
        allowed++;
      } else {
        await refusedWith("RATE_LIMITED", Promise.reject(error));
        const [info] = error.findDetails(RetryInfoSchema);
        isOver = durationMs(info?.retryDelay ?? assert.fail()) > 100;
      }
    }
  };
  await Promise.all(replicas.flatMap((at) => [use(at), use(at), use(at)]));
  assert.ok(allowed >= 60 && allowed <= 60 + 2 * creditOf(limit), `${allowed}`);
  // Whoever comes later knows.
  const [late] = await startReplicas(t, 1);
  await refusedWith("RATE_LIMITED", authenticate(key, late));
});

test("without its database a replica is unavailable: it neither lets in nor refuses", async (t) => {
  const key = await newKey(1_000);
  const proxy = await startProxy(cleanup(t), service.connection);
  const connection = parseDatabaseUrl(proxy.url);
  // What is remembered of the key would be answered for a while.
  const replica = await startService({ beside: { ...service, connection }, memoryBytes: 0 });
  cleanup(t).defer(() => replica.stop());
  await authenticate(key, replica);
  await proxy.cut();
  for (let turn = 0; turn < 5; turn++) {
    await refusedWith("UNAVAILABLE", authenticate(key, replica));
  }
  await proxy.restore();
  await until("it recovers", async () => (await reasonOf(authenticate(key, replica))) === undefined);
});

test("where uses cannot be written down, a replica allows a few and is unavailable then", async (t) => {
  let isBroken = false;
  const replica = await startService({
    beside: service,
    wrapCore: (core) => ({
      ...core,
      storage: {
        ...core.storage,
        inBackground: (name, sql, values) =>
          isBroken
            ? Promise.reject(new Error("canary: cannot write"))
            : core.storage.inBackground<never>(name, sql, values),
      },
    }),
  });
  cleanup(t).defer(() => replica.stop());
  isBroken = true;
  const limit = { requests: 100, windowSeconds: DAY };
  const key = await newKey(limit.requests);
  let allowed = 0;
  let reason: string | undefined;
  while (reason === undefined || reason === "RATE_LIMITED") {
    reason = await reasonOf(authenticate(key, replica));
    allowed += Number(reason === undefined);
  }
  assert.equal(reason, "UNAVAILABLE");
  assert.equal(allowed, creditOf(limit));
  const error = await refusedWith("UNAVAILABLE", authenticate(key, replica));
  assert.doesNotMatch(JSON.stringify(error), /canary/);
  assert.ok(replica.logged.some((line) => line.includes("canary: cannot write")));
  // Keys without a limit need nothing to be written.
  await replica
    .client(AuthenticationService)
    .authenticate({ headers: [{ name: "X-API-Key", value: service.apiKey }] });
  isBroken = false;
  await until("it recovers", async () => (await reasonOf(authenticate(key, replica))) === undefined);
});
