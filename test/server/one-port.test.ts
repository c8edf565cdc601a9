import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { subscribe } from "node:diagnostics_channel";
import { EventEmitter, once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
} from "node:http2";
import { connect, type Socket } from "node:net";
import { describe, type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { promisify } from "node:util";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import type { NodeHandler } from "../../src/server/node-handler.ts";
import { listenOnePort, type OnePort } from "../../src/server/one-port.ts";
import type { OnePortLimits } from "../../src/server/port-limits.ts";

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: latchkey.test\r\n\r\n`;

/** Answers with what it saw. */
const echo: NodeHandler = async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const { httpVersion, method, url, rawHeaders } = request;
  response.end(JSON.stringify({ httpVersion, method, url, rawHeaders, body }));
};

type Response = Parameters<NodeHandler>[1];

/** Lets each call wait until the test answers it. */
function held() {
  const calls: Parameters<NodeHandler>[] = [];
  const arrivals = new EventEmitter();
  const response = (index: number) => calls[index]?.[1] ?? assert.fail(`call ${index} has not come`);
  return {
    calls,
    handler: ((...call) => {
      calls.push(call);
      arrivals.emit("arrival");
    }) satisfies NodeHandler,
    async arrived(count = 1) {
      while (calls.length < count) await once(arrivals, "arrival");
    },
    response,
    begin: (text: string, index = 0) => (response(index) as NodeJS.WritableStream).write(text),
    answer: (text: string, index = 0) => response(index).end(text),
  };
}

interface Options {
  handler?: NodeHandler;
  limits?: Partial<OnePortLimits>;
  onError?: (error: unknown) => void;
}

async function open(t: TestContext, { handler = echo, ...rest }: Options = {}): Promise<OnePort> {
  const server = await listenOnePort({ host: "127.0.0.1", port: 0, handler, ...rest });
  t.after(() => server.close(0));
  return server;
}

/** The server's ends of the connections, by the client's port. */
const serverEnds = new Map<number | undefined, Socket>();
subscribe("net.server.socket", (message) => {
  const { socket } = message as { socket: Socket };
  const { remotePort } = socket;
  serverEnds.set(remotePort, socket);
  socket.once("close", () => serverEnds.delete(remotePort));
});

/** A TCP client that keeps what it is told. */
async function dial(server: OnePort) {
  const socket = connect({ port: server.port, host: server.address, noDelay: true, allowHalfOpen: true });
  await once(socket, "connect");
  const { localPort } = socket;
  const closed = once(socket, "close");
  let received = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
  });
  socket.on("error", () => {});
  socket.on("end", () => socket.end());
  const client = {
    socket,
    closed,
    received: () => received.toString("latin1"),
    bytes: () => received,
    async until(pattern: RegExp): Promise<string> {
      while (!pattern.test(client.received())) {
        assert.ok(!socket.destroyed, `closed before ${pattern}: ${client.received()}`);
        await Promise.race([once(socket, "data"), closed]);
      }
      return client.received();
    },
    /** Sends, and waits until the server has read it, so that the next piece comes apart. */
    async send(text: string | Buffer): Promise<void> {
      const before = socket.bytesWritten;
      const length = Buffer.byteLength(text, "latin1");
      socket.write(text, "latin1");
      while ((serverEnds.get(localPort)?.bytesRead ?? 0) < before + length && !socket.destroyed) await turn();
    },
    /** All that comes until the server closes. */
    async rest(): Promise<string> {
      await closed;
      return client.received();
    },
  };
  return client;
}

/** An HTTP/2 client with node's own manners. */
function session(t: TestContext, server: OnePort): ClientHttp2Session {
  const client = connectHttp2(`http://${server.address}:${server.port}`);
  client.on("error", () => {});
  t.after(() => client.destroy());
  return client;
}

interface Answer {
  status: number | undefined;
  body: string;
  /** The stream's error, for an answer that did not come whole. */
  error: Error | undefined;
  code: number | undefined;
}

async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  const answer: Answer = { status: undefined, body: "", error: undefined, code: undefined };
  stream.on("response", (headers) => {
    answer.status = headers[":status"];
  });
  stream.on("data", (chunk) => {
    answer.body += chunk;
  });
  stream.on("error", (error) => {
    answer.error = error;
  });
  await new Promise((resolve) => stream.once("close", resolve));
  answer.code = stream.rstCode;
  return answer;
}

const call = (client: ClientHttp2Session, headers: Record<string, string | string[]> = {}) =>
  answerOf(client.request({ ":path": "/", ...headers }));

function frame(type: number, flags: number, stream: number, payload = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const frameType = { headers: 1, rst: 3, settings: 4, goaway: 7, windowUpdate: 8, continuation: 9 };
const settings = frame(frameType.settings, 0, 0);
const acknowledge = frame(frameType.settings, 1, 0);
/** GET http://a/ (RFC 7541: static table entries 2, 6 and 4; literal :authority). */
const requestBlock = Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]);
const endOfStreamAndHeaders = 5;

function framesOf(bytes: Buffer): { type: number; flags: number; stream: number; payload: Buffer }[] {
  const frames = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const payload = bytes.subarray(at + 9, at + 9 + length);
    frames.push({
      type: bytes.readUInt8(at + 3),
      flags: bytes.readUInt8(at + 4),
      stream: bytes.readUInt32BE(at + 5),
      payload,
    });
    at += 9 + length;
  }
  return frames;
}

const stillServes = async (server: OnePort) => {
  const client = await dial(server);
  client.socket.write(get("/alive"));
  await client.until(/alive/);
  client.socket.destroy();
};

/** Values of one header in rawHeaders, which has names and values in turn. */
const rawValues = (rawHeaders: string[], name: string) =>
  rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name);

describe("one port: which protocol", { timeout: 20_000 }, () => {
  test("takes connectNodeAdapter's handler", async (t) => {
    const server = await open(t, { handler: connectNodeAdapter({ routes: () => {} }) });
    assert.equal((await call(session(t, server))).status, 404);
  });

  for (const [flag, version] of [
    ["--http1.1", "1.1"],
    ["--http2", "1.1"],
    ["--http2-prior-knowledge", "2.0"],
  ] as const) {
    test(`serves curl ${flag}`, async (t) => {
      const server = await open(t);
      let out: string;
      try {
        const url = `http://${server.address}:${server.port}/`;
        out = (await promisify(execFile)("curl", ["-sS", "--max-time", "10", flag, "--data", "hello", url]))
          .stdout;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return t.skip("no curl here");
        throw error;
      }
      assert.partialDeepStrictEqual(JSON.parse(out), { httpVersion: version, method: "POST", body: "hello" });
    });
  }

  test("knows HTTP/2 wherever its preface is split", async (t) => {
    const server = await open(t);
    for (let at = 1; at < preface.length; at++) {
      const client = await dial(server);
      await client.send(preface.slice(0, at));
      assert.equal(client.received(), "");
      client.socket.write(preface.slice(at));
      client.socket.write(settings);
      client.socket.write(frame(frameType.headers, endOfStreamAndHeaders, 1, requestBlock));
      await client.until(/"httpVersion":"2.0"/);
      client.socket.destroy();
    }
  });

  test("knows HTTP/2 byte by byte", async (t) => {
    const client = await dial(await open(t));
    for (const byte of preface) await client.send(byte);
    for (const byte of settings) await client.send(Buffer.of(byte));
    for (const byte of frame(frameType.headers, endOfStreamAndHeaders, 1, requestBlock)) {
      await client.send(Buffer.of(byte));
    }
    await client.until(/"httpVersion":"2.0"/);
    client.socket.destroy();
  });

  test("knows HTTP/1.1 whose first bytes are the preface's, wherever they are split", async (t) => {
    const server = await open(t);
    for (const method of ["PUT", "POST", "PATCH", "PROPFIND"]) {
      for (let at = 1; at <= method.length; at++) {
        const client = await dial(server);
        const request = `${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`;
        await client.send(request.slice(0, at));
        client.socket.write(request.slice(at));
        await client.until(new RegExp(`"httpVersion":"1.1","method":"${method}"`));
        client.socket.destroy();
      }
    }
  });

  test("knows HTTP/1.1 byte by byte", async (t) => {
    const client = await dial(await open(t));
    for (const byte of get("/slowly")) await client.send(byte);
    await client.until(/slowly/);
    client.socket.destroy();
  });

  for (const [what, bytes] of [
    ["the method PRI of HTTP/1.1", "PRI * HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["a preface that goes wrong in its second half", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"],
    ["a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ["garbage", "\0\xff\0\xff\r\n\r\n"],
  ] as const) {
    test(`answers 400 to ${what}`, async (t) => {
      const server = await open(t);
      const client = await dial(server);
      client.socket.write(bytes, "latin1");
      assert.match(await client.rest(), /^HTTP\/1.1 400 Bad Request\r\nConnection: close\r\n/);
      await stillServes(server);
    });
  }

  test("closes on a preface that garbage follows", async (t) => {
    const server = await open(t);
    const client = await dial(server);
    client.socket.write(`${preface}${get("/")}`);
    await client.closed;
    assert.ok(framesOf(client.bytes()).some(({ type }) => type === frameType.goaway));
    await stillServes(server);
  });

  for (const said of ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"]) {
    test(`cuts a socket that says ${JSON.stringify(said)} and no more`, async (t) => {
      const client = await dial(await open(t, { limits: { decideMs: 20 } }));
      client.socket.write(said);
      assert.equal(await client.rest(), "");
    });

    test(`closes when the client ends after ${JSON.stringify(said)}`, async (t) => {
      const client = await dial(await open(t));
      client.socket.end(said);
      assert.equal(await client.rest(), "");
    });

    test(`outlives a reset after ${JSON.stringify(said)}`, async (t) => {
      const server = await open(t);
      const client = await dial(server);
      await client.send(said);
      const { localPort } = client.socket;
      while (!serverEnds.has(localPort)) await turn();
      client.socket.resetAndDestroy();
      while (serverEnds.has(localPort)) await turn();
      await stillServes(server);
    });
  }

  test("makes room for who speaks by closing who has been silent longest", async (t) => {
    const server = await open(t, { limits: { maxUndecided: 2 } });
    const [first, second, third] = [await dial(server), await dial(server), await dial(server)];
    await first.closed;
    second.socket.write(get("/second"));
    third.socket.write(get("/third"));
    await second.until(/second/);
    await third.until(/third/);
    second.socket.destroy();
    third.socket.destroy();
  });

  test("closes a connection too many as it arrives", async (t) => {
    const server = await open(t, { limits: { maxConnections: 1 } });
    const first = await dial(server);
    await first.send(get("/"));
    await (await dial(server)).closed;
    first.socket.destroy();
  });
});

describe("one port: HTTP/1.1", { timeout: 20_000 }, () => {
  test("shows duplicate headers in rawHeaders", async (t) => {
    const client = await dial(await open(t));
    client.socket.write(
      "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: one\r\nX-API-Key: one\r\nauthorization: two\r\nx-api-key: two\r\n\r\n",
    );
    await client.until(/"body"/);
    const { rawHeaders } = JSON.parse(client.received().split("\r\n\r\n")[1] ?? "");
    assert.deepEqual(rawValues(rawHeaders, "authorization"), ["one", "two"]);
    assert.deepEqual(rawValues(rawHeaders, "x-api-key"), ["one", "two"]);
    client.socket.destroy();
  });

  test("drops no header, however many precede it", async (t) => {
    const seen = Promise.withResolvers<string[]>();
    const server = await open(t, {
      handler: (request, response) => {
        seen.resolve(request.rawHeaders);
        response.end();
      },
    });
    const client = await dial(server);
    client.socket.write(`GET / HTTP/1.1\r\nHost: a\r\nk: 1\r\n${"a:\r\n".repeat(3000)}k: 2\r\n\r\n`);
    assert.deepEqual(rawValues(await seen.promise, "k"), ["1", "2"]);
    client.socket.destroy();
  });

  test("takes 15 KiB of headers and answers 431 to 17 KiB, however much more follows", async (t) => {
    const server = await open(t);
    const within = await dial(server);
    within.socket.write(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(15 * 1024)}\r\n\r\n`);
    await within.until(/200 OK/);
    within.socket.destroy();
    for (const size of [17 * 1024, 1024 * 1024]) {
      const beyond = await dial(server);
      beyond.socket.write(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(size)}\r\n\r\n`);
      assert.match(await beyond.rest(), /^HTTP\/1.1 431 [^\r]*\r\nConnection: close\r\n/);
    }
  });

  for (const [what, request] of [
    ["headers", "GET / HTTP/1.1\r\nHost: a\r\n"],
    ["a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"],
  ] as const) {
    test(`answers 408 to ${what} too slow to come, and closes`, async (t) => {
      const { handler } = held();
      const server = await open(t, { handler, limits: { headersMs: 40, requestMs: 40 } });
      const client = await dial(server);
      client.socket.write(request);
      assert.match(await client.rest(), /^HTTP\/1.1 408 [^\r]*\r\nConnection: close\r\n.*\r\n\r\n$/s);
    });
  }

  test("closes a connection whose next request does not come", async (t) => {
    const client = await dial(await open(t, { limits: { keepAliveMs: 20 } }));
    client.socket.write(get("/"));
    assert.match(await client.rest(), /^HTTP\/1.1 200 OK/);
  });

  test("answers pipelined requests in order, though they end in another", async (t) => {
    const calls = held();
    const client = await dial(await open(t, { handler: calls.handler }));
    client.socket.write(get("/1") + get("/2") + get("/3"));
    await calls.arrived(3);
    for (const at of [2, 0, 1]) calls.answer(`answer ${at}`, at);
    await client.until(/answer 0.*answer 1.*answer 2/s);
    client.socket.destroy();
  });

  test("says close with the last call it takes from a pipeline, and does not run the others", async (t) => {
    const calls = held();
    const client = await dial(
      await open(t, { handler: calls.handler, limits: { maxCallsPerConnection: 2 } }),
    );
    client.socket.write(get("/1") + get("/2") + get("/3") + get("/4"));
    await calls.arrived(2);
    calls.answer("first", 0);
    calls.answer("second", 1);
    const [first = "", second = ""] = (await client.rest()).split("first");
    assert.match(first, /Connection: keep-alive/);
    assert.match(second, /Connection: close.*second$/s);
    assert.equal(calls.calls.length, 2);
  });

  test("waits only so long for a client it has refused to close", async (t) => {
    const client = await dial(await open(t, { limits: { lingerMs: 20 } }));
    client.socket.removeAllListeners("end");
    client.socket.write("garbage\r\n\r\n");
    await client.until(/^HTTP\/1.1 400 /);
    const { localPort } = client.socket;
    while (serverEnds.has(localPort)) await turn();
    client.socket.destroy();
  });

  test("never answers garbage in the place of an earlier request", async (t) => {
    const calls = held();
    const client = await dial(await open(t, { handler: calls.handler }));
    client.socket.write(`${get("/1")}garbage\r\n\r\n`);
    assert.equal(await client.rest(), "");
  });

  test("refuses a body of two lengths (RFC 9112 §6.3)", async (t) => {
    const client = await dial(await open(t));
    client.socket.write(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    assert.match(await client.rest(), /^HTTP\/1.1 400 /);
  });

  test("answers 400 to a request that is cut short", async (t) => {
    const client = await dial(await open(t));
    client.socket.end("GET / HTTP/1.1\r\nHo");
    assert.match(await client.rest(), /^HTTP\/1.1 400 /);
  });

  test("answers 501 to CONNECT", async (t) => {
    const server = await open(t);
    const client = await dial(server);
    client.socket.write("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\nmore");
    assert.match(await client.rest(), /^HTTP\/1.1 501 /);
    await stillServes(server);
  });

  test("answers as if Upgrade were not there", async (t) => {
    const client = await dial(await open(t));
    client.socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    await client.until(/^HTTP\/1.1 200 OK/);
    client.socket.destroy();
  });

  test("asks for the body of who expects 100-continue, and knows no other expectation", async (t) => {
    const server = await open(t);
    const client = await dial(server);
    const request = (expect: string) =>
      `POST / HTTP/1.1\r\nHost: a\r\nExpect: ${expect}\r\nContent-Length: 2\r\n\r\n`;
    client.socket.write(request("100-continue"));
    await client.until(/^HTTP\/1.1 100 Continue\r\n\r\n/);
    client.socket.write("hi");
    await client.until(/"body":"hi"/);
    client.socket.write(request("tea"));
    await client.until(/HTTP\/1.1 417 /);
    client.socket.destroy();
  });

  test("cuts a client that does not read its answer, but not a handler that takes its time", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler, limits: { stallMs: 40 } });
    const patient = await dial(server);
    await patient.send(get("/patient"));
    await calls.arrived(1);
    const deaf = connect(server.port, server.address).pause();
    deaf.on("error", () => {});
    deaf.write(get("/deaf"));
    await calls.arrived(2);
    const cut = once(calls.response(1), "close");
    calls.answer("x".repeat(32 * 1024 * 1024), 1);
    await cut;
    deaf.destroy();
    calls.answer("worth the wait", 0);
    await patient.until(/worth the wait/);
    patient.socket.destroy();
  });
});

describe("one port: HTTP/2", { timeout: 20_000 }, () => {
  test("shows duplicate headers in rawHeaders", async (t) => {
    // As separate fields, which node's client does not do for `authorization`:
    // RFC 7541 §6.2.2 literals, never indexed by name.
    const field = (name: string, value: string) =>
      Buffer.concat([
        Buffer.of(0, name.length),
        Buffer.from(name),
        Buffer.of(value.length),
        Buffer.from(value),
      ]);
    const client = await dial(await open(t));
    const block = Buffer.concat([
      requestBlock,
      field("authorization", "one"),
      field("x-api-key", "one"),
      field("authorization", "two"),
      field("x-api-key", "two"),
    ]);
    client.socket.write(preface);
    client.socket.write(settings);
    client.socket.write(frame(frameType.headers, endOfStreamAndHeaders, 1, block));
    await client.until(/"body"/);
    const { rawHeaders } = JSON.parse(/\{.*\}/.exec(client.received())?.[0] ?? "");
    assert.deepEqual(rawValues(rawHeaders, "authorization"), ["one", "two"]);
    assert.deepEqual(rawValues(rawHeaders, "x-api-key"), ["one", "two"]);
    client.socket.destroy();
  });

  test("takes 15 KiB of headers and refuses 17 KiB, at once and on a connection that has served", async (t) => {
    const client = session(t, await open(t));
    assert.equal((await call(client, { x: "a".repeat(17 * 1024) })).status, 431);
    assert.equal((await call(client, { x: "a".repeat(15 * 1024) })).status, 200);
    assert.equal(
      (await call(client, { x: "a".repeat(17 * 1024) })).code,
      constants.NGHTTP2_ENHANCE_YOUR_CALM,
    );
    assert.equal((await call(client)).status, 200);
  });

  test("counts 32 for each header, as RFC 9113 §6.5.2 does", async (t) => {
    const client = session(t, await open(t, { limits: { maxHeaderBytes: 1000 } }));
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`x-${at}`, ""]));
    assert.equal((await call(client, many)).status, 431);
  });

  test("cuts a client that never acknowledges SETTINGS and floods headers", async (t) => {
    const server = await open(t);
    const client = await dial(server);
    const block = Buffer.concat([
      requestBlock,
      Buffer.of(0, 1, 0x61, 0x7f, 0x80, 0x7f),
      Buffer.alloc(16_256, 0x61),
    ]);
    client.socket.write(preface);
    client.socket.write(settings);
    client.socket.write(frame(frameType.headers, 1, 1, block));
    while (!client.socket.destroyed) {
      await client.send(frame(frameType.continuation, 0, 1, block.subarray(requestBlock.length)));
    }
    await stillServes(server);
  });

  test("refuses a call too many, retryably", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler, limits: { maxCallsPerConnection: 2 } });
    const client = await dial(server);
    client.socket.write(preface);
    client.socket.write(settings);
    for (const stream of [1, 3, 5]) {
      client.socket.write(frame(frameType.headers, endOfStreamAndHeaders, stream, requestBlock));
    }
    const refused = () => framesOf(client.bytes()).find(({ type }) => type === frameType.rst);
    while (refused() === undefined) await once(client.socket, "data");
    assert.equal(refused()?.stream, 5);
    assert.equal(refused()?.payload.readUInt32BE(0), constants.NGHTTP2_REFUSED_STREAM);
    client.socket.destroy();
  });

  test("answers 501 to CONNECT", async (t) => {
    const client = session(t, await open(t));
    const answer = await answerOf(client.request({ ":method": "CONNECT", ":authority": "a:443" }));
    assert.equal(answer.status, 501);
  });

  test("asks for the body of who expects 100-continue, and knows no other expectation", async (t) => {
    const client = session(t, await open(t));
    const stream = client.request({ ":method": "POST", expect: "100-continue" });
    const answer = answerOf(stream);
    await once(stream, "continue");
    stream.end("hi");
    assert.match((await answer).body, /"body":"hi"/);
    assert.equal((await call(client, { expect: "tea" })).status, 417);
  });

  test("cancels a request that comes too slowly, but no answer that takes its time", async (t) => {
    const calls = held();
    const client = session(t, await open(t, { handler: calls.handler, limits: { requestMs: 40 } }));
    const whole = call(client);
    await calls.arrived(1);
    const half = client.request({ ":method": "POST" });
    half.write("abc");
    assert.equal((await answerOf(half)).code, constants.NGHTTP2_CANCEL);
    calls.answer("worth the wait");
    assert.equal((await whole).body, "worth the wait");
  });

  test("cancels a call whose client does not read its answer, and no other", async (t) => {
    const calls = held();
    const client = session(t, await open(t, { handler: calls.handler, limits: { stallMs: 40 } }));
    // The second takes as long as anything that the first might bring about.
    for (const index of [0, 1]) {
      const stream = client.request({ ":path": "/" }).pause();
      stream.on("error", () => {});
      await calls.arrived(index + 1);
      const cut = once(calls.response(index), "close");
      calls.answer("x".repeat(1024 * 1024), index);
      await cut;
    }
    const answer = call(client);
    await calls.arrived(3);
    calls.answer("served", 2);
    assert.equal((await answer).body, "served");
  });

  test("asks a session without calls to go, whatever it PINGs", async (t) => {
    const client = session(t, await open(t, { limits: { idleSessionMs: 40 } }));
    client.on("connect", function ping() {
      if (!client.closed) client.ping(ping);
    });
    const [code] = await once(client, "goaway");
    assert.equal(code, constants.NGHTTP2_NO_ERROR);
    await once(client, "close");
  });

  test("keeps a session that has a call", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler, limits: { idleSessionMs: 40 } });
    const busy = session(t, server);
    busy.on("goaway", () => assert.fail("it has a call"));
    const answer = call(busy);
    await calls.arrived();
    await once(session(t, server), "goaway");
    busy.removeAllListeners("goaway");
    calls.answer("worth the wait");
    assert.equal((await answer).body, "worth the wait");
  });

  for (const [what, end] of [
    ["its answer", (response) => void response.end()],
    ["of its handler's fault", () => Promise.reject(new Error("the handler's fault"))],
  ] as const satisfies [string, (response: Response) => void | Promise<void>][]) {
    test(`cuts a client that reads nothing at all, not even ${what}`, async (t) => {
      const handler: NodeHandler = async (_request, response) => {
        (response as NodeJS.WritableStream).write("x".repeat(32 * 1024 * 1024));
        await turn();
        await end(response);
      };
      const client = await dial(await open(t, { handler, limits: { stallMs: 20 }, onError: () => {} }));
      client.socket.pause();
      // Flow control is to stop nothing here, only TCP.
      const window = Buffer.alloc(4);
      window.writeUInt32BE(0x7fff_0000);
      await client.send(preface);
      await client.send(frame(frameType.settings, 0, 0, Buffer.concat([Buffer.of(0, 4), window])));
      await client.send(frame(frameType.windowUpdate, 0, 0, window));
      client.socket.write(frame(frameType.headers, endOfStreamAndHeaders, 1, requestBlock));
      const { localPort } = client.socket;
      while (serverEnds.has(localPort)) await turn();
      client.socket.destroy();
    });
  }

  test("cuts a session that does not go", async (t) => {
    const client = await dial(await open(t, { limits: { idleSessionMs: 20, lingerMs: 20 } }));
    client.socket.removeAllListeners("end");
    await client.send(preface);
    const { localPort } = client.socket;
    while (serverEnds.has(localPort)) await turn();
    assert.equal(client.socket.destroyed, false);
    client.socket.destroy();
  });

  test("closes when the client ends its half", async (t) => {
    const server = await open(t);
    const client = await dial(server);
    client.socket.write(preface);
    client.socket.end(settings);
    await client.closed;
  });
});

describe("one port: a handler's faults", { timeout: 20_000 }, () => {
  const fault = new Error("the handler's fault");
  const faulty: NodeHandler = async (request, response) => {
    // Must not frame the 500 that takes this answer's place.
    response.setHeader("Content-Length", 100);
    response.setHeader("Content-Encoding", "gzip");
    if (request.url === "/after-headers") {
      await new Promise((sent) => void (response as NodeJS.WritableStream).write("part", sent));
    }
    throw fault;
  };
  const faultyAtOnce: NodeHandler = () => {
    throw fault;
  };

  for (const [when, handler] of [
    ["at once", faultyAtOnce],
    ["later", faulty],
  ] as const) {
    test(`that come ${when} become 500 on both versions`, async (t) => {
      const faults: unknown[] = [];
      const server = await open(t, { handler, onError: (error) => faults.push(error) });
      const client = await dial(server);
      client.socket.write(get("/"));
      await client.until(/^HTTP\/1.1 500 .*Content-Length: 0\r\n.*\r\n\r\n$/s);
      client.socket.destroy();
      assert.doesNotMatch(client.received(), /gzip/);
      assert.partialDeepStrictEqual(await call(session(t, server)), {
        status: 500,
        body: "",
        error: undefined,
      });
      assert.deepEqual(faults, [fault, fault]);
    });
  }

  test("that come within an answer cut it on both versions", async (t) => {
    const faults: unknown[] = [];
    const server = await open(t, { handler: faulty, onError: (error) => faults.push(error) });
    const client = await dial(server);
    client.socket.write(get("/after-headers"));
    assert.match(await client.rest(), /part$/);
    const answer = await call(session(t, server), { ":path": "/after-headers" });
    assert.equal(answer.code, constants.NGHTTP2_INTERNAL_ERROR);
    assert.deepEqual(faults, [fault, fault]);
  });

  test("end nothing else when it writes after the end", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = await dial(server);
    client.socket.write(get("/"));
    await calls.arrived(1);
    const http2 = call(session(t, server));
    await calls.arrived(2);
    for (const index of [0, 1]) {
      calls.answer("whole", index);
      calls.begin("more", index);
      calls.answer("more", index);
    }
    await client.until(/whole$/);
    assert.equal((await http2).body, "whole");
    client.socket.destroy();
  });

  test("do not come of a client that has gone", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const http1 = await dial(server);
    http1.socket.write(get("/"));
    await calls.arrived(1);
    const http2 = session(t, server);
    const lost = call(http2);
    await calls.arrived(2);
    const gone = calls.calls.map(([, response]) => once(response, "close"));
    http1.socket.resetAndDestroy();
    http2.destroy();
    await Promise.all([...gone, lost]);
    for (const index of [0, 1]) {
      calls.begin("too late", index);
      calls.answer("too late", index);
      calls.answer("twice", index);
    }
    await turn();
  });
});

describe("one port: closing", { timeout: 20_000 }, () => {
  test("lets an HTTP/1.1 call end and says Connection: close", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = await dial(server);
    client.socket.write(get("/"));
    await calls.arrived();
    const closed = server.close(10_000);
    calls.answer("done");
    assert.match(await client.rest(), /Connection: close\r\n.*done$/s);
    await closed;
  });

  test("lets a pipeline end and says Connection: close with its last answer only", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = await dial(server);
    client.socket.write(get("/1") + get("/2"));
    await calls.arrived(2);
    const closed = server.close(10_000);
    await client.send(get("/3"));
    calls.answer("first", 0);
    calls.answer("second", 1);
    assert.match(await client.rest(), /keep-alive\r\n.*first.*Connection: close\r\n.*second$/s);
    assert.equal(calls.calls.length, 2);
    await closed;
  });

  test("lets an answer end that has begun, then closes", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = await dial(server);
    client.socket.write(get("/"));
    await calls.arrived();
    calls.begin("part one, ");
    await client.until(/part one/);
    const closed = server.close(10_000);
    calls.answer("part two");
    assert.match(await client.rest(), /part two\r\n0\r\n\r\n$/);
    await closed;
  });

  test("does not cut an answer that is on its way", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = await dial(server);
    client.socket.pause();
    client.socket.write(get("/"));
    await calls.arrived();
    const size = 32 * 1024 * 1024;
    calls.answer("x".repeat(size));
    const closed = server.close(10_000);
    client.socket.removeAllListeners("data");
    let received = 0;
    client.socket.on("data", (chunk) => {
      received += chunk.length;
    });
    client.socket.resume();
    await closed;
    await client.closed;
    assert.ok(received > size, `${received} of ${size}`);
  });

  test("does not cut an HTTP/2 answer that is on its way", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const stream = session(t, server).request({ ":path": "/" });
    await calls.arrived();
    const size = 4 * 1024 * 1024;
    calls.answer("x".repeat(size));
    await once(stream, "response");
    const closed = server.close(10_000);
    const { body, code } = await answerOf(stream);
    assert.equal(body.length, size);
    assert.equal(code, constants.NGHTTP2_NO_ERROR);
    await closed;
  });

  test("answers a request that had begun to come", async (t) => {
    const server = await open(t);
    const [fresh, used] = [await dial(server), await dial(server)];
    used.socket.write(get("/before"));
    await used.until(/before/);
    const whole = get("/begun");
    await used.send(whole.slice(0, 20));
    await fresh.send(whole.slice(0, 20));
    const closed = server.close(10_000);
    for (const client of [used, fresh]) {
      client.socket.write(whole.slice(20));
      assert.match(await client.rest(), /Connection: close\r\n.*begun/s);
    }
    await closed;
  });

  test("closes idle and undecided connections at once", async (t) => {
    const server = await open(t);
    const [idle, undecided, silent] = [await dial(server), await dial(server), await dial(server)];
    idle.socket.write(get("/"));
    await idle.until(/"body"/);
    await undecided.send("PRI");
    const idleSession = session(t, server);
    assert.equal((await call(idleSession)).status, 200);
    const goaway = once(idleSession, "goaway");
    await server.close(10_000);
    await Promise.all([idle.closed, undecided.closed, silent.closed, goaway]);
  });

  test("sends GOAWAY, lets the HTTP/2 calls end and refuses others so that they can be sent again", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = await dial(server);
    client.socket.write(preface);
    client.socket.write(settings);
    client.socket.write(acknowledge);
    client.socket.write(frame(frameType.headers, endOfStreamAndHeaders, 1, requestBlock));
    await calls.arrived();
    const closed = server.close(10_000);
    // As a client does that has not read GOAWAY yet.
    await client.send(frame(frameType.headers, endOfStreamAndHeaders, 3, requestBlock));
    calls.answer("done");
    await client.closed;
    await closed;
    const frames = framesOf(client.bytes());
    const goaway = frames.find(({ type }) => type === frameType.goaway);
    // RFC 9113 §6.8: the last stream that was or might be processed, and NO_ERROR.
    assert.equal(goaway?.payload.readUInt32BE(0), 1);
    assert.equal(goaway?.payload.readUInt32BE(4), constants.NGHTTP2_NO_ERROR);
    assert.deepEqual(
      frames.filter(({ stream }) => stream !== 0).map(({ stream }) => stream),
      [1, 1, 1],
    );
    assert.match(client.received(), /done/);
    assert.equal(calls.calls.length, 1);
  });

  test("tells node's own client so that it knows too", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = session(t, server);
    const answer = call(client);
    await calls.arrived();
    const goaway = once(client, "goaway");
    const closed = server.close(10_000);
    await goaway;
    calls.answer("done");
    assert.partialDeepStrictEqual(await answer, { status: 200, body: "done", error: undefined });
    await closed;
  });

  test("cuts what is left after the grace, and no answer that is cut looks whole", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = await dial(server);
    client.socket.write(get("/"));
    await calls.arrived(1);
    const http2 = session(t, server);
    const cut = call(http2);
    await calls.arrived(2);
    calls.begin("part", 0);
    calls.begin("part", 1);
    await client.until(/part/);
    await server.close(20);
    assert.doesNotMatch(await client.rest(), /\r\n0\r\n/);
    const answer = await cut;
    assert.ok(
      answer.error !== undefined || answer.code !== constants.NGHTTP2_NO_ERROR,
      JSON.stringify(answer),
    );
  });

  test("may be asked twice, and sooner the second time", async (t) => {
    const calls = held();
    const server = await open(t, { handler: calls.handler });
    const client = await dial(server);
    client.socket.write(get("/"));
    await calls.arrived();
    const patient = server.close(1_000_000);
    await server.close(0);
    await patient;
    await server.close(0);
  });

  test("takes no connection any more", async (t) => {
    const server = await open(t);
    await server.close(0);
    await assert.rejects(dial(server), { code: "ECONNREFUSED" });
  });
});

describe("one port: listening", { timeout: 20_000 }, () => {
  test("tells the port and the address it got", async (t) => {
    const server = await open(t);
    assert.equal(server.address, "127.0.0.1");
    assert.ok(server.port > 0);
  });

  test("rejects with the system's own error", async (t) => {
    const { port } = await open(t);
    const listen = (host: string, port: number) => listenOnePort({ host, port, handler: echo });
    await assert.rejects(listen("127.0.0.1", port), { code: "EADDRINUSE", syscall: "listen", port });
    // RFC 5737: an address that is nobody's.
    await assert.rejects(listen("192.0.2.1", 0), { code: "EADDRNOTAVAIL" });
    await assert.rejects(listen("127.0.0.1", 65_536), { code: "ERR_SOCKET_BAD_PORT" });
  });
});
