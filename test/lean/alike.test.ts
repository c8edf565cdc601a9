import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import {
  type AuthenticateRequest,
  AuthenticateRequestSchema,
  BatchAuthenticateRequestSchema,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { startService, type TestService } from "../support/service.ts";
import { http1Client, http2Client, type RawClient, type RawRequest, type Said } from "./raw-exchange.ts";

const PATH = "/latchkey.v1.AuthenticationService/Authenticate";
const BATCH_PATH = "/latchkey.v1.AuthenticationService/BatchAuthenticate";

type Fields = RawRequest["fields"];
type Ask = Partial<Omit<AuthenticateRequest, "$typeName" | "headers">> & { headers?: [string, string][] };

/** A way to make the call, and how a message is written for it. */
interface Way {
  readonly name: string;
  readonly http: "1.1" | "2";
  readonly fields: Fields;
  /** Which compressions the client takes. */
  readonly acceptField: string;
  readonly timeout: (text: string) => Fields;
  readonly body: (ask: Ask) => Buffer;
  /** Of several at once. */
  readonly batch: (asks: readonly Ask[]) => Buffer;
}

const messageOf = ({ headers = [], ...ask }: Ask) =>
  create(AuthenticateRequestSchema, { ...ask, headers: headers.map(([name, value]) => ({ name, value })) });
const binary = (ask: Ask) => Buffer.from(toBinary(AuthenticateRequestSchema, messageOf(ask)));
const batchOf = (asks: readonly Ask[]) =>
  create(BatchAuthenticateRequestSchema, { requests: asks.map(messageOf) });
const binaryBatch = (asks: readonly Ask[]) =>
  Buffer.from(toBinary(BatchAuthenticateRequestSchema, batchOf(asks)));
const jsonBatch = (asks: readonly Ask[]) =>
  Buffer.from(toJsonString(BatchAuthenticateRequestSchema, batchOf(asks)));
const json = (ask: Ask) => Buffer.from(toJsonString(AuthenticateRequestSchema, messageOf(ask)));
const enveloped = (message: Buffer, flags = 0) => {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

const WAYS: readonly Way[] = [
  {
    name: "gRPC",
    http: "2",
    fields: [
      ["content-type", "application/grpc"],
      ["te", "trailers"],
    ],
    acceptField: "grpc-accept-encoding",
    timeout: (text) => [["grpc-timeout", text]],
    body: (ask) => enveloped(binary(ask)),
    batch: (asks) => enveloped(binaryBatch(asks)),
  },
  ...(["1.1", "2"] as const).flatMap((http) =>
    (["proto", "json"] as const).map((codec) => ({
      name: `Connect in ${codec} over HTTP/${http}`,
      http,
      fields: [
        ["content-type", `application/${codec}`],
        ["connect-protocol-version", "1"],
      ] as Fields,
      acceptField: "accept-encoding",
      timeout: (text: string): Fields => [["connect-timeout-ms", text]],
      body: codec === "proto" ? binary : json,
      batch: codec === "proto" ? binaryBatch : jsonBatch,
    })),
  ),
];

let lean: TestService;
let long: TestService;
before(async () => {
  lean = await startService({ callers: "authenticated" });
  long = await startService({ beside: lean, callers: "authenticated", leanTransport: false });
  // Each hears of changes at its own pace.
  for (const { hearing } of [lean, long]) {
    Object.defineProperty(hearing, "revision", { value: "AQIDBAUGBwgJCg" });
  }
});
after(async () => {
  await long.stop();
  await lean.stop();
});

const caller = (): [string, string] => ["x-internal-key", lean.internalKey];
const key = (): [string, string] => ["X-API-Key", lean.apiKey];
const REQUEST_ID: [string, string] = ["x-request-id", "the-same-for-both"];

/** What is sent, beside what the way has. */
interface Sent extends Pick<RawRequest, "withheld"> {
  readonly fields?: Fields;
  readonly body?: Buffer;
  readonly path?: string;
}

/** Each way's clients of both services, for one test. */
async function compare(way: Way, cases: Record<string, Sent>): Promise<Map<string, Said>> {
  const open = way.http === "2" ? http2Client : http1Client;
  const clients: [RawClient, RawClient] = [open(lean.port), open(long.port)];
  const answers = new Map<string, Said>();
  try {
    for (const [
      name,
      { fields = [caller()], body = way.body({ headers: [key()] }), path = PATH, withheld = 0 },
    ] of Object.entries(cases)) {
      const request = { path, body, withheld, fields: [...way.fields, REQUEST_ID, ...fields] };
      const [ours, theirs] = await Promise.all(clients.map((client) => client.exchange(request)));
      assert.ok(theirs !== undefined && theirs.head.length > 0, `${name}: no answer`);
      assert.deepEqual(ours, theirs, name);
      answers.set(name, theirs);
    }
  } finally {
    for (const client of clients) {
      client.close();
    }
  }
  return answers;
}

for (const way of WAYS) {
  describe(`${way.name}: answers to the byte as the other transport does`, { timeout: 60_000 }, () => {
    test("what is asked", async () => {
      const { id } = { id: lean.organizationId };
      const token: [string, string] = ["Authorization", `Bearer ${await lean.logIn()}`];
      const asks: Record<string, Ask> = {
        "an API key": { headers: [["host", "a.test"], key()] },
        "a token": { headers: [token] },
        "an internal key": { headers: [["X-Internal-Key", lean.internalKey]] },
        "its organization": { headers: [key()], organizationId: id },
        "its organization in capitals": { headers: [key()], organizationId: id.toUpperCase() },
        "another organization": {
          headers: [key()],
          organizationId: id.replace(/.$/, (last) => (last === "0" ? "1" : "0")),
        },
        "no organization's id": { headers: [key()], organizationId: "acme" },
        "a permission that it has": { headers: [token], requiredPermissions: ["auth.authenticate"] },
        "a permission that it lacks": { headers: [key()], requiredPermissions: ["auth.authenticate"] },
        "a permission that there is not": { headers: [key()], requiredPermissions: ["no.such", '"', "\n"] },
        "one of permissions": { headers: [token], anyPermissions: ["auth.authenticate", "auth.explain"] },
        "64 permissions": { headers: [key()], requiredPermissions: Array(64).fill("auth.explain") },
        "65 permissions": { headers: [key()], requiredPermissions: Array(65).fill("auth.explain") },
        "an empty permission": { headers: [key()], anyPermissions: [""] },
        "a permission of 100 code points": { headers: [key()], anyPermissions: ["𝄞".repeat(100)] },
        "a permission of 101 characters": { headers: [key()], anyPermissions: ["a".repeat(101)] },
        "an audience": { headers: [token], audience: "https://elsewhere.test" },
        "an audience of 256 characters": { headers: [token], audience: "a".repeat(256) },
        "an address": { headers: [key()], clientAddress: "192.0.2.1" },
        "no address": { headers: [key()], clientAddress: "é.test" },
        nothing: {},
        "no credential": { headers: [["accept", "*/*"]] },
        "a wrong key": {
          headers: [["X-API-Key", lean.apiKey.replace(/.$/, (last) => (last === "0" ? "1" : "0"))]],
        },
        garbage: { headers: [["x-api-key", "garbage"]] },
        "two credentials": { headers: [key(), token] },
        "a credential twice": { headers: [key(), key()] },
        "a name that is none": { headers: [["x api key", "v"]] },
        "values beyond ASCII": { headers: [["x-name", "Zoë 𝄞"], key()] },
        "quotes and escapes": { headers: [["sec-ch-ua", '"A";v="1", "\\"'], key()] },
        "257 headers": { headers: Array.from({ length: 257 }, (): [string, string] => ["a", "b"]) },
        "60 KiB of a header": { headers: [["cookie", "c".repeat(60 * 1024)], key()] },
      };
      const answers = await compare(
        way,
        Object.fromEntries(Object.entries(asks).map(([name, ask]) => [name, { body: way.body(ask) }])),
      );
      const told = (name: string) => JSON.stringify(answers.get(name));
      assert.match(told("an API key"), way.name === "gRPC" ? /grpc-status: 0/ : /200/);
      assert.match(told("garbage"), way.name === "gRPC" ? /grpc-status: 16/ : /API_KEY_INVALID/);
    });

    test("who asks", async () => {
      await compare(way, {
        nobody: { fields: [] },
        garbage: { fields: [["x-internal-key", "garbage"]] },
        "a key without the permission": { fields: [key()] },
        "two credentials": { fields: [caller(), key()] },
        "for its organization": { fields: [caller(), ["x-org-id", lean.organizationId]] },
        "for no organization": { fields: [caller(), ["x-org-id", "acme"]] },
        "a person": { fields: [["authorization", `Bearer ${await lean.logIn()}`]] },
      });
    });

    test("what the headers say", async () => {
      const with_ = (...fields: Fields): Sent => ({ fields: [caller(), ...fields] });
      const type = way.fields[0]?.[1] ?? "";
      await compare(way, {
        "a deadline": with_(...way.timeout(way.name === "gRPC" ? "9S" : "9000")),
        "a far deadline": with_(...way.timeout(way.name === "gRPC" ? "99999999H" : "9999999999")),
        "no time": with_(...way.timeout(way.name === "gRPC" ? "0m" : "0")),
        "a deadline that is none": with_(...way.timeout("soon")),
        "two deadlines": with_(...way.timeout("900"), ...way.timeout("900")),
        gzip: with_([way.acceptField, "gzip"]),
        "gzip and brotli": with_([way.acceptField, "identity, br , gzip"]),
        "no compression that is served": with_([way.acceptField, "deflate,identity"]),
        "the other's compression": with_(
          [way.acceptField === "accept-encoding" ? "grpc-accept-encoding" : "accept-encoding", "gzip"],
          [way.acceptField, "identity"],
        ),
        "a compression that is not there": with_(["content-encoding", "gzip"], ["grpc-encoding", "gzip"]),
        "an unknown compression": with_(["content-encoding", "zip"], ["grpc-encoding", "zip"]),
        identity: with_(["content-encoding", "identity"], ["grpc-encoding", "identity"]),
        "another version": with_(["connect-protocol-version", "2"]),
        "an origin": with_(["origin", "https://app.test"]),
        "a trace": with_(["traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
        "another path": { path: `${PATH}s` },
        "a query": { path: `${PATH}?a=b` },
        "a type twice": with_(["content-type", type]),
        expectations: with_(["expect", "tea"]),
      });
    });

    test("a body that does not come before its deadline", async () => {
      const fields = [caller(), ...way.timeout(way.name === "gRPC" ? "80m" : "80")];
      const answers = await compare(way, {
        "nothing of it": { fields, withheld: way.body({ headers: [key()] }).length },
        "half of it": { fields, withheld: 10 },
      });
      assert.match(JSON.stringify(answers.get("half of it")), /grpc-status: 4|deadline_exceeded/);
    });

    test("large answers, compressed and not", async () => {
      // All that a person may do is more than 1 KiB, from which on answers are compressed.
      const token: [string, string] = ["Authorization", `Bearer ${await lean.logIn()}`];
      const body = way.body({ headers: [token] });
      const answers = await compare(way, {
        plain: { body },
        gzip: { body, fields: [caller(), [way.acceptField, "gzip"]] },
        brotli: { body, fields: [caller(), [way.acceptField, "br"]] },
      });
      assert.notEqual(answers.get("plain")?.body, answers.get("gzip")?.body);
    });

    test("many at once", async () => {
      const asks: Ask[] = [
        { headers: [key()] },
        {},
        { headers: [["x-api-key", "garbage"]] },
        { headers: [key()], requiredPermissions: ["auth.authenticate"] },
        { headers: [key(), key()] },
        { headers: [["Authorization", `Bearer ${await lean.logIn()}`]] },
        { headers: [["X-Internal-Key", lean.internalKey]], organizationId: lean.organizationId },
        { headers: [key()], clientAddress: "nowhere" },
      ];
      const path = BATCH_PATH;
      const many = (count: number) => way.batch(Array.from({ length: count }, () => ({ headers: [key()] })));
      await compare(way, {
        "of each kind": { path, body: way.batch(asks) },
        "in another order": { path, body: way.batch(asks.toReversed()) },
        none: { path, body: way.batch([]) },
        "a thousand": { path, body: many(1000) },
        "one more": { path, body: many(1001) },
        "one against the rules": { path, body: way.batch([...asks, { organizationId: "acme" }]) },
        "large ones": {
          path,
          body: way.batch(Array.from({ length: 20 }, () => ({ headers: [["cookie", "c".repeat(20_000)]] }))),
        },
        "cut short": { path, body: way.batch(asks).subarray(0, -1) },
        "from nobody": { path, body: many(2), fields: [] },
        "from nobody, large": { path, body: many(1000), fields: [] },
        "from a key without the permission": { path, body: many(2), fields: [key()] },
        compressed: { path, body: many(100), fields: [caller(), [way.acceptField, "gzip"]] },
      });
    });

    test("what is wrong with the body", async () => {
      const good = way.body({ headers: [key()] });
      const message = binary({ headers: [key()] });
      const cases: Record<string, Buffer> = {
        "cut short": good.subarray(0, -1),
        "one byte too many": Buffer.concat([good, Buffer.of(0)]),
        nothing: Buffer.alloc(0),
        "too long": way.body({ headers: [["cookie", "c".repeat(65 * 1024)]] }),
        "far too long": way.body({ headers: [["cookie", "c".repeat(300 * 1024)]] }),
        null: Buffer.from("null"),
        "a list": Buffer.from("[]"),
        "a name twice": Buffer.from('{"audience":"a","audience":"b"}'),
        "a name in both forms": Buffer.from('{"minRevision":"a","min_revision":"b"}'),
        "a byte order mark": Buffer.from('\ufeff{"audience":"a"}'),
        "half a surrogate pair": Buffer.from('{"audience":"\\ud800"}'),
        "an unknown name": Buffer.from('{"Audience":"a"}'),
        "a prototype": Buffer.from('{"__proto__":{"audience":"a"},"headers":[{"__proto__":{"name":"a"}}]}'),
        compressed: gzipSync(good),
        "two messages": Buffer.concat([good, good]),
        "a compressed message": enveloped(gzipSync(message), 1),
        "an unknown flag": enveloped(message, 2),
        "an empty message": enveloped(Buffer.alloc(0)),
        "not UTF-8": enveloped(Buffer.of(0x22, 2, 0xff, 0xfe)),
        "an unknown field": enveloped(Buffer.concat([message, Buffer.of(0x98, 6, 1)])),
        "not enveloped and not UTF-8": Buffer.of(0x22, 2, 0xc0, 0x80),
        "not enveloped, of another type": Buffer.of(0x20, 2),
      };
      await compare(way, Object.fromEntries(Object.entries(cases).map(([name, body]) => [name, { body }])));
    });
  });
}
