import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { ImportApiKeysRequestSchema } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { addUser, makePassword } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  startService,
  type TestService,
  transportTo,
  WIRES,
} from "../support/service.ts";
import { until } from "../support/until.ts";
import {
  ImportMode,
  ImportOutcome,
  type ImportRequest,
  importKeys,
  KeyHashAlgorithm,
  type KeyInit,
  keyOf,
  OLD_FORMAT,
  oldKey,
  present,
  randomText,
  refusalOf,
} from "./import.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

const MANY = 10_000;

const fullKeyOf = (text: string, at: number): KeyInit =>
  keyOf(text, {
    name: `key ${at} of another system`,
    permissions: ["calls.read", "calls.write"],
    allowedCidrs: ["127.0.0.0/8", "::1/128"],
    environment: "live",
    metadata: { entries: { id: String(at), team: "telephony", note: "x".repeat(60) } },
    rateLimit: { requests: 100 + at, windowSeconds: 60 },
    expireTime: { seconds: 4_000_000_000n },
  });

/** Carries out calls with an eye on what other calls see meanwhile. */
async function inSeconds<Result>(what: string, most: number, work: () => Promise<Result>): Promise<Result> {
  const started = performance.now();
  const result = await work();
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < most, `${what} took ${seconds} s`);
  return result;
}

test("ten thousand keys are imported in seconds, found again in less, and each works", async () => {
  const texts = Array.from({ length: MANY }, oldKey);
  const keys = texts.map(fullKeyOf);
  const first = await inSeconds("to import them", 20, () => importKeys(service, keys));
  assert.deepEqual([first.imported, first.refused], [MANY, 0]);
  const again = await inSeconds("to find them", 20, () => importKeys(service, keys));
  assert.deepEqual([again.unchanged, again.imported, again.refused], [MANY, 0, 0]);
  for (const at of [0, 4_999, MANY - 1]) {
    const { principal } = await service.client(AuthenticationService).authenticate({
      headers: [{ name: "X-API-Key", value: texts[at] ?? "" }],
      clientAddress: "127.0.0.1",
    });
    assert.equal(principal?.id, first.results[at]?.id);
    const [row] = await query<Record<string, unknown>>(
      service.connection,
      `select name, permissions, allowed_cidrs, environment, metadata, rate_limit_requests, imported,
         extract(epoch from expire_time)::bigint as expire from api_keys where id = $1`,
      [principal?.id],
    );
    assert.deepEqual(row, {
      name: `key ${at} of another system`,
      permissions: ["calls.read", "calls.write"],
      allowed_cidrs: ["127.0.0.0/8", "::1/128"],
      environment: "live",
      metadata: { id: String(at), team: "telephony", note: "x".repeat(60) },
      rate_limit_requests: 100 + at,
      imported: true,
      expire: "4000000000",
    });
  }
});

/** Keys by hashes of bcrypt that nobody has made: to import them, nothing is hashed. */
function saltedKeys(count: number): KeyInit[] {
  const digits = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from({ length: count }, (_, at) => {
    const text = oldKey();
    const hash = Buffer.from(`$2b$10$${randomText(21, digits)}uKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C`);
    return keyOf(text, { name: `key ${at}`, hash, lookupPrefix: text.slice(0, 16) });
  });
}

test("ten thousand salted keys are imported in seconds, and crowd nobody", async () => {
  const keys = saltedKeys(MANY);
  const more: ImportRequest = { hashing: { algorithm: KeyHashAlgorithm.BCRYPT } };
  const first = await inSeconds("to import them", 20, () => importKeys(service, keys, more));
  assert.equal(first.imported, MANY);
  const again = await inSeconds("to find them", 20, () => importKeys(service, keys, more));
  assert.equal(again.unchanged, MANY);
  // And beside them, as many that have to be compared with all of those.
  const others = keys.map((key, at) =>
    at % 2 === 0 ? { ...key, hash: Buffer.from(String(key.hash).replace("$2b$10$", "$2b$11$")) } : key,
  );
  const mixed = await inSeconds("to import others", 20, () =>
    importKeys(service, others, { ...more, mode: ImportMode.BEST_EFFORT }),
  );
  assert.deepEqual([mixed.imported, mixed.unchanged], [MANY / 2, MANY / 2]);
});

test("after a first few keys, ten thousand beside a hundred thousand take no longer", async () => {
  const other = await startService();
  try {
    const hashing = { algorithm: KeyHashAlgorithm.BCRYPT };
    await importKeys(other, saltedKeys(10), { hashing });
    // More than there is time to count them: whatever was planned for a few is not good enough any more.
    await query(
      other.connection,
      `with one as (select h, k from imported_key_hashes h join api_keys k on k.id = h.api_key_id limit 1),
       ids as (select gen_random_uuid() as id from generate_series(1, 100000)),
       made as (
         insert into api_keys
         select (jsonb_populate_record((one).k, jsonb_build_object('id', id))).* from ids, one returning id
       )
       insert into imported_key_hashes
       select (jsonb_populate_record((one).h, jsonb_build_object('api_key_id', id,
         'fingerprint', sha256(id::text::bytea), 'lookup_prefix', 'old_' || left(md5(id::text), 12)))).*
       from ids, one`,
    );
    const keys = saltedKeys(MANY);
    const { imported } = await inSeconds("to import them", 20, () => importKeys(other, keys, { hashing }));
    assert.equal(imported, MANY);
    assert.equal(await refusalOf(other, oldKey()), "API_KEY_INVALID");
  } finally {
    await other.stop();
  }
});

test("while ten thousand keys are imported, others are answered", async () => {
  let isDone = false;
  const importing = importKeys(service, Array.from({ length: MANY }, oldKey).map(fullKeyOf)).finally(() => {
    isDone = true;
  });
  let answered = 0;
  while (!isDone) {
    await present(service, service.apiKey);
    answered++;
  }
  await importing;
  assert.ok(answered > 20, `${answered} calls were answered meanwhile`);
});

test("ten thousand keys that are all bad are told so, within what an answer may hold", async () => {
  const unknown = Array.from({ length: 4 }, (_, at) => `calls.${"x".repeat(80)}_${at}`);
  const { results, refused } = await importKeys(
    service,
    Array.from({ length: MANY }, () => keyOf(oldKey(), { permissions: unknown })),
    { mode: ImportMode.BEST_EFFORT },
  );
  assert.equal(refused, MANY);
  for (const { outcome, reason, message } of results) {
    assert.deepEqual([outcome, reason], [ImportOutcome.REFUSED, "PERMISSION_UNKNOWN"]);
    assert.ok(message.length <= 300);
  }
});

test("an import that is given up leaves nothing", async () => {
  const texts = Array.from({ length: MANY }, oldKey);
  const before = await query(service.connection, "select count(*) from api_keys");
  const abort = new AbortController();
  const client = service.client(ApiKeyService, { "x-internal-key": service.internalKey });
  const call = client.importApiKeys(
    {
      organizationId: service.organizationId,
      ownerId: service.admin.id,
      format: OLD_FORMAT,
      hashing: { algorithm: KeyHashAlgorithm.SHA256 },
      mode: ImportMode.ALL_OR_NOTHING,
      keys: texts.map(fullKeyOf),
    },
    { signal: abort.signal },
  );
  const running = () =>
    query(
      service.connection,
      `select from pg_stat_activity where datname = current_database() and state = 'active'
         and query like 'with rows as%'`,
    );
  await until("the keys are being written", async () => (await running()).length > 0);
  abort.abort();
  await assert.rejects(call);
  await until("nobody writes any more", async () => (await running()).length === 0);
  assert.deepEqual(await query(service.connection, "select count(*) from api_keys"), before);
  assert.equal(await refusalOf(service, texts[0] ?? ""), "API_KEY_INVALID");
});

const importOf = (keys: readonly KeyInit[]) => ({
  organizationId: service.organizationId,
  ownerId: service.admin.id,
  format: OLD_FORMAT,
  hashing: { algorithm: KeyHashAlgorithm.SHA256 },
  mode: ImportMode.BEST_EFFORT,
  keys: [...keys],
});

const METADATA = Object.fromEntries(Array.from({ length: 10 }, (_, at) => [`note${at}`, "x".repeat(450)]));
const fatKeys = (count: number) =>
  Array.from({ length: count }, () => keyOf(oldKey(), { metadata: { entries: METADATA } }));

for (const { protocol, http } of WIRES) {
  test(`by ${protocol} over HTTP/${http}: 3 MiB are taken, 10 MB refused, and from a stranger nothing is read`, async () => {
    const internal = { "x-internal-key": service.internalKey };
    const client = (headers: Record<string, string>) =>
      createClient(ApiKeyService, transportTo(service.url, protocol, http, headers));
    const { imported } = await client(internal).importApiKeys(importOf(fatKeys(600)));
    assert.equal(imported, 600);
    const tooMany = importOf(fatKeys(2_100));
    assert.ok(toBinary(ImportApiKeysRequestSchema, create(ImportApiKeysRequestSchema, tooMany)).length > 9e6);
    const error = await client(internal)
      .importApiKeys(tooMany)
      .then(
        () => assert.fail("10 MB were taken"),
        (thrown: unknown) => ConnectError.from(thrown),
      );
    assert.equal(error.code, Code.ResourceExhausted, error.message);
    assert.equal(await reasonOf(client({}).importApiKeys(importOf(fatKeys(600)))), "CREDENTIAL_MISSING");
    const weak = { "x-api-key": service.apiKey };
    assert.equal(await reasonOf(client(weak).importApiKeys(importOf(fatKeys(600)))), "PERMISSION_DENIED");
  });
}

test("a message that is small until it is decompressed is not read for whoever may not send it", async () => {
  const { organizationId } = service;
  const password = await makePassword(service.core);
  const owner = await addUser(service.core, { organizationId, role: "owner", password });
  const token = `Bearer ${await service.logIn(owner.email, password.text)}`;
  // Two million empty keys.
  const bomb = gzipSync(Buffer.alloc(4 * 1024 * 1024 - 2, Buffer.from([0x2a, 0])));
  assert.ok(bomb.length < 16_384);
  const post = async (headers: Record<string, string>) => {
    const response = await fetch(`${service.url}/latchkey.v1.ApiKeyService/ImportApiKeys`, {
      method: "POST",
      headers: { "content-type": "application/proto", "content-encoding": "gzip", ...headers },
      body: bomb,
    });
    const text = await response.text();
    return { status: response.status, text, id: response.headers.get("x-request-id") };
  };
  const memory = process.memoryUsage().heapUsed;
  for (const [headers, status, reason] of [
    [{}, 401, "unauthenticated"],
    [{ authorization: token }, 403, "permission_denied"],
    [{ "x-api-key": "ak_wrong" }, 401, "unauthenticated"],
  ] as const) {
    const started = process.cpuUsage();
    const answer = await post(headers);
    const { user } = process.cpuUsage(started);
    assert.deepEqual([answer.status, JSON.parse(answer.text).code], [status, reason]);
    assert.ok(user < 600_000, `${user / 1000} ms were spent on a stranger`);
    // As every refusal, it is told with its id, and logged.
    assert.ok(answer.id !== null && service.logged.some((line) => line.includes(answer.id ?? "-")));
  }
  assert.ok(process.memoryUsage().heapUsed - memory < 150e6);
});
