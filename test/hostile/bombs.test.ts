import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { brotliDecompressSync, gzipSync } from "node:zlib";
import { Code } from "@connectrpc/connect";
import { exchangeHttp1, exchangeHttp2 } from "../wire-faults/exchange.ts";
import { type Besieged, besiege } from "./besieged.ts";
import { envelope } from "./frames.ts";

const MIB = 1024 * 1024;
const PATH = "/latchkey.v1.AuthenticationService/Authenticate";
/** By each protocol. */
const AT_ONCE = 5;
/** Room for a window of 16 MiB each, the largest that there is (RFC 7932 §9.1); the bombs hold 50 times as much. */
const MEMORY_TAKEN = 192 * MIB;

const sixteenMib = gzipSync(Buffer.alloc(16 * MIB));
/** What brotli makes of 16 MiB of zeros, at the beginning of a stream and later, and its end (RFC 7932 §9.2). */
const brotli = [
  Buffer.from("cfffff7f002400e2b14072efff0d", "hex"),
  Buffer.from("fcffff074002200e0b40f7fedf00", "hex"),
  Buffer.of(3),
] as const;
const [brotliFirst, brotliNext, brotliEnd] = brotli;

const BOMBS = {
  // RFC 1952 §2.2: members follow each other.
  "gzip, 1 MiB, of 1 GiB": ["gzip", Buffer.concat(Array(64).fill(sixteenMib))],
  "gzip, less than 64 KiB, of 60 MiB": ["gzip", gzipSync(Buffer.alloc(60 * MIB))],
  "brotli, less than 1 KiB, of 1 GiB": [
    "br",
    Buffer.concat([brotliFirst, ...Array(63).fill(brotliNext), brotliEnd]),
  ],
} satisfies Record<string, [encoding: string, bytes: Buffer]>;

const POST = { verb: "POST", path: PATH, chunked: false, unfinished: false };

async function byConnect(port: number, encoding: string, bomb: Buffer) {
  const answer = await exchangeHttp1(port, {
    ...POST,
    headers: [
      ["host", "latchkey.test"],
      ["content-type", "application/proto"],
      ["content-encoding", encoding],
    ],
    body: bomb,
  });
  return { status: answer.status, code: JSON.parse(answer.body.toString()).code };
}

async function byGrpc(port: number, encoding: string, bomb: Buffer) {
  const answer = await exchangeHttp2(port, {
    ...POST,
    headers: [
      ["content-type", "application/grpc"],
      ["grpc-encoding", encoding],
      ["te", "trailers"],
    ],
    body: envelope(bomb, 1),
  });
  const code = answer.trailers.get("grpc-status") ?? answer.headers.get("grpc-status");
  return { status: answer.status, code: Number(code) };
}

describe("the service refuses messages that are bombs, and does not unpack them:", () => {
  const stack = new AsyncDisposableStack();
  let service: Besieged;
  before(async () => {
    service = await besiege(stack);
  });
  after(() => stack.disposeAsync());

  test("brotli unpacks its own", () => {
    assert.equal(brotliDecompressSync(Buffer.concat(brotli)).length, 32 * MIB);
  });

  for (const [name, [encoding, bytes]] of Object.entries(BOMBS)) {
    test(name, async () => {
      const before = service.peak();
      await service.withstands(async (goOn) => {
        const answers = Array.from({ length: AT_ONCE }, () => [
          byConnect(service.port, encoding, bytes),
          byGrpc(service.port, encoding, bytes),
        ]);
        await goOn();
        for (const [connect, grpc] of answers) {
          assert.deepEqual(await connect, { status: 429, code: "resource_exhausted" });
          assert.deepEqual(await grpc, { status: 200, code: Code.ResourceExhausted });
        }
      });
      const taken = service.peak() - before;
      assert.ok(taken < MEMORY_TAKEN, `it took ${taken} bytes more`);
    });
  }
});
