import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import fc from "fast-check";
import { Client as DatabaseClient } from "pg";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import {
  AuthenticateErrorSchema,
  type AuthenticateRequestSchema,
  AuthenticateResponseSchema,
  type AuthenticateResult,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { addApiKey, addOrganization, addServiceKey, addUser, makePassword } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import {
  AuthenticationService,
  startService,
  type TestService,
  transportTo,
  WIRES,
} from "../support/service.ts";
import { until } from "../support/until.ts";
import { partsOf } from "../wire/key-text.ts";
import { CANARY } from "./breaking.ts";

type Entry = MessageInitShape<typeof AuthenticateRequestSchema>;

let service: TestService;
/** The same, where whoever reaches the port may ask. */
let open: TestService;
/** What is asked of one request: each credential with each demand. */
let entries: readonly Entry[];
let callers: Readonly<Record<"of the platform" | "of one organization", Record<string, string>>>;
before(async () => {
  service = await startService({ callers: "authenticated" });
  open = await startService({ beside: service, callers: "any" });
  entries = await makeEntries();
  const bound = await newKey(["auth.authenticate"]);
  callers = {
    "of the platform": { "x-internal-key": service.internalKey },
    "of one organization": { "x-api-key": bound.text },
  };
});
after(async () => {
  await open?.stop();
  await service?.stop();
});

const newKey = (permissions: readonly string[] = ["calls.*"], more: object = {}) =>
  addApiKey(service.core, {
    organizationId: service.organizationId,
    owner: { userId: service.admin.id },
    permissions,
    ...more,
  });

const asKey = (value: string): Entry => ({ headers: [{ name: "X-API-Key", value }] });

async function makeEntries(): Promise<Entry[]> {
  const { core, connection, organizationId, admin } = service;
  const other = await addOrganization(core);
  const theirs = await addUser(core, {
    organizationId: other,
    role: "owner",
    password: await makePassword(core),
  });
  const [revoked, expired, bound, foreign] = await Promise.all([
    newKey(),
    newKey(),
    newKey(["calls.read"], { allowedCidrs: ["192.0.2.0/24"] }),
    addApiKey(core, { organizationId: other, owner: { userId: theirs.id }, permissions: ["calls.*"] }),
  ]);
  await query(connection, "update api_keys set revoke_time = now() where id = $1", [revoked.id]);
  await query(connection, "update api_keys set expire_time = now() where id = $1", [expired.id]);
  const narrow = await addServiceKey(core, { permissions: ["calls.read"] });
  const token = await service.logIn(admin.email, admin.password);
  const credentials: readonly (readonly (readonly [name: string, value: string])[])[] = [
    [["X-API-Key", service.apiKey]],
    [["authorization", `Bearer ${service.apiKey}`]],
    [["Authorization", `Bearer ${token}`]],
    [["Authorization", `Bearer ${token.slice(0, -4)}AAAA`]],
    [["x-internal-key", service.internalKey]],
    [
      ["x-internal-key", narrow.text],
      ["X-Org-Id", organizationId],
      ["x-latchkey-user", "forged"],
    ],
    [
      ["x-internal-key", narrow.text],
      ["X-Org-Id", other],
    ],
    [["X-API-Key", revoked.text]],
    [["X-API-Key", expired.text]],
    [["X-API-Key", bound.text]],
    [["X-API-Key", foreign.text]],
    [["X-API-Key", mintKey("ak").text]],
    [["X-API-Key", "ak_wrong"]],
    [],
    [["X_API_Key", service.apiKey]],
    [["X-API-Key", "ak\n"]],
    [["X-Org-Id", "acme"]],
    [["no token", ""]],
    [
      ["X-API-Key", service.apiKey],
      ["Authorization", `Bearer ${token}`],
    ],
  ];
  const demands: readonly Entry[] = [
    {},
    { requiredPermissions: ["calls.read"], clientAddress: "192.0.2.1" },
    { requiredPermissions: ["calls.read", "auth.users.write", "platform.users.read"] },
    { requiredPermissions: ["é".repeat(100), ...Array.from({ length: 20 }, (_, at) => `${at}`.repeat(50))] },
    { anyPermissions: ["calls.write", "calls.read"], organizationId: organizationId.toUpperCase() },
    { organizationId: other, clientAddress: "2001:db8::1" },
    { audience: "billing", clientAddress: "localhost" },
    { minRevision: "not one of ours" },
  ];
  return credentials.flatMap((fields) =>
    demands.map((demand) => ({ headers: fields.map(([name, value]) => ({ name, value })), ...demand })),
  );
}

/** An outcome without what may be another at each answer. */
type Outcome = { readonly response: unknown } | { readonly error: unknown };

async function askSingly(at: TestService, caller: Record<string, string>, entry: Entry): Promise<Outcome> {
  try {
    const response = await at.client(AuthenticationService, caller).authenticate(entry);
    return { response: toJson(AuthenticateResponseSchema, { ...response, revision: "" }) };
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    const [info] = error.findDetails(ErrorInfoSchema);
    const retryDelay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    const { reason = "", metadata = {} } = info ?? {};
    const message = create(AuthenticateErrorSchema, {
      code: error.code,
      reason,
      message: error.rawMessage,
      metadata,
      ...(retryDelay && { retryDelay }),
    });
    return { error: toJson(AuthenticateErrorSchema, message) };
  }
}

function outcomeOf({ outcome }: AuthenticateResult): Outcome {
  switch (outcome.case) {
    case "response":
      return { response: toJson(AuthenticateResponseSchema, { ...outcome.value, revision: "" }) };
    case "error":
      return { error: toJson(AuthenticateErrorSchema, outcome.value) };
    default:
      return assert.fail("a result has an outcome");
  }
}

const reasonOfResult = ({ outcome }: AuthenticateResult) =>
  outcome.case === "error" ? outcome.value.reason : "allowed";

for (const who of ["of the platform", "of one organization"] as const) {
  test(`each request of a batch is answered as by itself, in its place, to a caller ${who}`, async () => {
    const caller = callers[who];
    const singly = await Promise.all(entries.map((entry) => askSingly(service, caller, entry)));
    // It is worth comparing.
    assert.ok(singly.some((outcome) => "response" in outcome));
    assert.ok(new Set(singly.map((outcome) => JSON.stringify(outcome))).size > 15);
    const client = service.client(AuthenticationService, caller);
    const everything = entries.map((_, at) => at);
    const mixtures = fc.oneof(
      fc.shuffledSubarray(everything, { minLength: everything.length }),
      fc.array(fc.constantFrom(...everything), { maxLength: 120 }),
    );
    await fc.assert(
      fc.asyncProperty(mixtures, async (mixture) => {
        const { results } = await client.batchAuthenticate({
          requests: mixture.map((at) => entries[at] ?? {}),
        });
        assert.deepEqual(
          results.map(outcomeOf),
          mixture.map((at) => singly[at]),
        );
      }),
      { numRuns: 5 },
    );
  });
}

for (const { protocol, http } of WIRES) {
  test(`a batch over ${protocol} and HTTP/${http} is answered like any other`, async () => {
    const transport = transportTo(service.url, protocol, http, callers["of the platform"]);
    const requests = [asKey("ak_wrong"), asKey(service.apiKey), {}];
    const { results } = await createClient(AuthenticationService, transport).batchAuthenticate({ requests });
    assert.deepEqual(results.map(reasonOfResult), ["API_KEY_INVALID", "allowed", "CREDENTIAL_MISSING"]);
    assert.deepEqual(
      results.map(({ outcome }) => outcome.case === "error" && outcome.value.code),
      [Code.Unauthenticated, false, Code.Unauthenticated],
    );
  });
}

test("a caller who is refused is told so of the call, whatever is in it", async () => {
  for (const [caller, reason] of [
    [{}, "CREDENTIAL_MISSING"],
    [{ "x-api-key": "ak_wrong" }, "API_KEY_INVALID"],
    [{ "x-api-key": service.apiKey }, "PERMISSION_DENIED"],
  ] as const) {
    for (const requests of [[], [asKey(service.apiKey)], [{ organizationId: "not a UUID" }]]) {
      const call = service.client(AuthenticationService, caller).batchAuthenticate({ requests });
      const error = await refusedWith("CALLER_REJECTED", call);
      assert.deepEqual(error.findDetails(ErrorInfoSchema)[0]?.metadata, { caller_reason: reason });
    }
  }
});

test("a caller's own credential is used once by a batch, however large it is", async () => {
  const replica = await startService({ beside: service, callers: "authenticated" });
  const caller = await newKey(["auth.authenticate"]);
  const client = replica.client(AuthenticationService, { "x-api-key": caller.text });
  await client.batchAuthenticate({ requests: Array.from({ length: 10 }, () => asKey("ak_wrong")) });
  await replica.stop();
  const uses = await query<{ uses: number }>(
    service.connection,
    "select (allowed + refused)::int as uses from key_usage where key_id = $1",
    [caller.id],
  );
  assert.deepEqual(uses, [{ uses: 1 }]);
});

describe("how large a batch may be", () => {
  const requestsOf = (length: number) => Array.from({ length }, () => ({}));

  test("up to 1,000 requests, and none", async () => {
    const client = service.client(AuthenticationService, callers["of the platform"]);
    for (const length of [0, 1_000]) {
      const { results } = await client.batchAuthenticate({ requests: requestsOf(length) });
      assert.deepEqual(results.map(reasonOfResult), Array(length).fill("CREDENTIAL_MISSING"));
    }
    await refusedWith("REQUEST_INVALID", client.batchAuthenticate({ requests: requestsOf(1_001) }));
  });

  // What nobody knows is refused before anything is looked up.
  const padded = { headers: [{ name: "X-API-Key", value: "ak_wrong" }, ...padding(10)] };

  function padding(count: number) {
    return Array.from({ length: count }, () => ({ name: "accept", value: "x".repeat(100) }));
  }

  test("more than 1 MiB, from whoever has shown that they may ask", async () => {
    const requests = Array.from({ length: 1_000 }, () => padded);
    const client = service.client(AuthenticationService, callers["of the platform"]);
    const { results } = await client.batchAuthenticate({ requests });
    assert.deepEqual(new Set(results.map(reasonOfResult)), new Set(["API_KEY_INVALID"]));
    assert.equal(results.length, 1_000);
    // Before it is read.
    await refusedWith(
      "CALLER_REJECTED",
      service.client(AuthenticationService).batchAuthenticate({ requests }),
    );
  });

  test("no larger than any other message where anybody may ask", async () => {
    const ask = (length: number) =>
      open
        .client(AuthenticationService)
        .batchAuthenticate({ requests: Array.from({ length }, () => padded) });
    assert.equal((await ask(50)).results.length, 50);
    const error = await ask(100).then(
      () => assert.fail("was answered"),
      (thrown: unknown) => ConnectError.from(thrown),
    );
    assert.equal(error.code, Code.ResourceExhausted);
  });
});

test("a request that breaks a rule of its message is told by its place, and nothing is decided", async () => {
  const client = service.client(AuthenticationService, callers["of the platform"]);
  const requests = [asKey(service.apiKey), { organizationId: "acme" }];
  const error = await refusedWith("REQUEST_INVALID", client.batchAuthenticate({ requests }));
  assert.match(error.rawMessage, /^requests\[1\]\.organization_id: /);
});

test("each request of a batch counts against a rate limit, in their order", async () => {
  const key = await newKey(["calls.read"], { rateLimit: { requests: 3, windowSeconds: 86_400 } });
  const client = open.client(AuthenticationService);
  const { results } = await client.batchAuthenticate({
    requests: Array.from({ length: 5 }, () => asKey(key.text)),
  });
  const outcomes = results.map(reasonOfResult);
  // Where there are two replicas, half of a limit can be used up at one before the other hears of it.
  const allowed = outcomes.filter((outcome) => outcome === "allowed").length;
  assert.ok(allowed === 2 || allowed === 3, String(outcomes));
  for (const { outcome } of results) {
    if (outcome.case === "error") {
      const { code, reason, retryDelay } = outcome.value;
      assert.deepEqual([code, reason], [Code.ResourceExhausted, "RATE_LIMITED"]);
      assert.ok(retryDelay !== undefined && retryDelay.seconds >= 0n);
    }
  }
});

test("a fault at some requests is no verdict on them and none on the others, and is logged once", async () => {
  const [good, broken] = [await newKey(), await newKey()];
  const { lookupId } = partsOf(broken.text);
  const replica = await startService({
    beside: service,
    wrapCore: (core) => ({
      ...core,
      storage: {
        ...core.storage,
        verify: (name, sql, values) =>
          values.flat().includes(lookupId)
            ? Promise.reject(new Error(CANARY))
            : core.storage.verify<never>(name, sql, values),
      },
    }),
  });
  try {
    const requests = [good, broken, good, broken, broken].map(({ text }) => asKey(text));
    const client = replica.client(AuthenticationService, { "x-request-id": "batch-with-faults" });
    const { results } = await client.batchAuthenticate({ requests });
    assert.deepEqual(results.map(reasonOfResult), [
      "allowed",
      "UNAVAILABLE",
      "allowed",
      "UNAVAILABLE",
      "UNAVAILABLE",
    ]);
    const told = JSON.stringify(results.map(outcomeOf));
    assert.ok(!told.includes(CANARY));
    assert.equal(results[1]?.outcome.case === "error" && results[1].outcome.value.code, Code.Unavailable);
    const lines = replica.logged.filter((line) => line.includes("batch-with-faults"));
    assert.equal(lines.length, 1);
    assert.ok(lines[0]?.includes(CANARY) && lines[0].includes('"level":50'), lines[0]);
  } finally {
    await replica.stop();
  }
});

test("what is refused in a batch is on record as what is refused singly", async () => {
  const replica = await startService({ beside: service, callers: "authenticated" });
  const caller = { ...callers["of one organization"], "x-request-id": "a-batch" };
  const key = await newKey();
  await query(service.connection, "update api_keys set revoke_time = now() where id = $1", [key.id]);
  const about = { ...asKey(key.text), clientAddress: "203.0.113.7" };
  await replica
    .client(AuthenticationService, caller)
    .batchAuthenticate({ requests: [about, asKey(service.apiKey), about] });
  await refusedWith("API_KEY_REVOKED", replica.client(AuthenticationService, caller).authenticate(about));
  await replica.stop();
  const events = await query<{ target_id: string; action: string; detail: Record<string, unknown> }>(
    service.connection,
    "select target_id, action, detail from audit_events where actor_id = $1 order by target_id desc",
    [key.id],
  );
  const [batch, single] = events;
  assert.equal(events.length, 2);
  assert.equal(batch?.target_id, "latchkey.v1.AuthenticationService/BatchAuthenticate");
  assert.equal(single?.target_id, "latchkey.v1.AuthenticationService/Authenticate");
  const comparable = (event: typeof batch) => {
    const { count, samples, firstTime, lastTime, ...detail } = event?.detail ?? {};
    return { action: event?.action, detail };
  };
  assert.deepEqual(comparable(batch), comparable(single));
  assert.deepEqual([batch?.detail["count"], single?.detail["count"]], [2, 1]);
});

describe("a batch that waits for the database", () => {
  const unknownKeys = (length: number) => Array.from({ length }, () => asKey(mintKey("ak").text));

  async function blockKeys(): Promise<() => Promise<void>> {
    const blocker = new DatabaseClient(service.connection);
    await blocker.connect();
    await blocker.query("begin; lock table api_keys, api_key_slots in access exclusive mode");
    return async () => {
      await blocker.query("rollback");
      await blocker.end();
    };
  }

  const waiting = async () => {
    const rows = await query<{ count: string }>(
      service.connection,
      `select count(*) from pg_stat_activity
       where datname = current_database() and application_name like 'latchkey%' and wait_event_type = 'Lock'`,
    );
    return Number(rows[0]?.count);
  };

  test("leaves connections to others, and is answered whole", async () => {
    const release = await blockKeys();
    const client = open.client(AuthenticationService);
    const batches = [1, 2].map(() => client.batchAuthenticate({ requests: unknownKeys(20) }));
    try {
      await until("they wait", async () => (await waiting()) >= 6);
      assert.equal(await waiting(), 6);
    } finally {
      await release();
    }
    for (const { results } of await Promise.all(batches)) {
      assert.deepEqual(results.map(reasonOfResult), Array(20).fill("API_KEY_INVALID"));
    }
  });

  test("ends with its deadline, and its statements with it", async () => {
    const release = await blockKeys();
    try {
      const client = open.client(AuthenticationService);
      const call = client.batchAuthenticate({ requests: unknownKeys(20) }, { timeoutMs: 400 });
      const code = call.then(
        () => assert.fail("was answered"),
        (thrown: unknown) => ConnectError.from(thrown).code,
      );
      await until("they wait", async () => (await waiting()) >= 5);
      assert.equal(await code, Code.DeadlineExceeded);
      await until("they are cancelled", async () => (await waiting()) === 0);
    } finally {
      await release();
    }
  });
});
