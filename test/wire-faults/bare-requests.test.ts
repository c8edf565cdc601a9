// What no client library can be made to send.
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { startService, type TestService } from "../support/service.ts";
import { exchangeHttp2 } from "./exchange.ts";
import { outcomeOf, requestOf } from "./spoken.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(async () => {
  await service.stop();
});

const CHECK = "/grpc.health.v1.Health/Check";

test("a call over HTTP/2 without any authority is malformed (RFC 9113 section 8.3.1)", async () => {
  const block = [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", CHECK],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
  ].map(([name = "", value = ""]) => literal(name, value));
  const answer = await send(
    Buffer.concat([
      Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      frame(4, 0, 0, Buffer.alloc(0)),
      frame(1, 5, 1, Buffer.concat(block)),
    ]),
    (bytes) => resetIn(bytes) !== undefined,
  );
  assert.equal(resetIn(answer), constants.NGHTTP2_PROTOCOL_ERROR);
});

test("a call over HTTP/1.0 without Host is a bad request, a page is not", async () => {
  const call = `POST ${CHECK} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`;
  assert.match((await send(Buffer.from(call))).toString(), /^HTTP\/1\.1 400 /);
  assert.match((await send(Buffer.from("GET /livez HTTP/1.0\r\n\r\n"))).toString(), /^HTTP\/1\.1 200 /);
});

test("a call over HTTP/1.0 is answered", async () => {
  const head = "host: a.test\r\ncontent-type: application/json\r\ncontent-length: 2";
  const answer = await send(Buffer.from(`POST ${CHECK} HTTP/1.0\r\n${head}\r\n\r\n{}`));
  assert.match(answer.toString(), /^HTTP\/1\.1 200 [\s\S]*"SERVING"/);
});

test("two requests at once, the first malformed, are answered in their order", async () => {
  const call = (body: string) =>
    `POST ${CHECK} HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  const answer = await send(
    Buffer.from(call("{") + call("{}")),
    (bytes) => bytes.toString().split("HTTP/1.1 ").length > 2,
  );
  assert.match(answer.toString(), /^HTTP\/1\.1 400 [\s\S]*HTTP\/1\.1 200 /);
});

test("what decompresses to 1000 times its size costs no memory", async () => {
  const bomb = gzipSync(Buffer.alloc(48 * 1024 * 1024));
  const headers = { "content-encoding": "gzip" };
  const request = requestOf("Connect unary", "unary", "2", { message: bomb, headers }, service.apiKey);
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const sampler = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers);
  }, 1);
  const outcomes = await Promise.all(
    Array.from({ length: 50 }, async () =>
      outcomeOf("Connect unary", await exchangeHttp2(service.port, request)),
    ),
  );
  clearInterval(sampler);
  assert.deepEqual(new Set(outcomes.map(({ code }) => code)), new Set(["resource_exhausted"]));
  // Decompressed they have 2.4 GiB together. The client's own copies are counted too.
  assert.ok(most - before < 32 * 1024 * 1024, `${most - before} bytes`);
});

async function send(bytes: Buffer, isAll = (_: Buffer) => false): Promise<Buffer> {
  const socket = connect({ port: service.port, host: "127.0.0.1", noDelay: true });
  socket.write(bytes);
  let answer = Buffer.alloc(0);
  socket.on("data", (piece) => {
    answer = Buffer.concat([answer, piece]);
    if (isAll(answer)) {
      socket.destroy();
    }
  });
  await once(socket, "close");
  return answer;
}

/** RFC 7541 section 6.2.2: a literal without indexing and with a new name. */
function literal(name: string, value: string): Buffer {
  return Buffer.concat(
    [Buffer.of(0, name.length), name, Buffer.of(value.length), value].map((part) => Buffer.from(part)),
  );
}

/** RFC 9113 section 4.1. */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** The code of the first RST_STREAM. */
function resetIn(bytes: Buffer): number | undefined {
  for (let at = 0; at + 9 < bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if (bytes.readUInt8(at + 3) === 3) {
      return bytes.readUInt32BE(at + 9);
    }
  }
  return undefined;
}
