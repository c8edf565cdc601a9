import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { NodeHandler } from "../../src/server/node-handler.ts";
import { endOfStreamAndHeaders, frame, framesOf, frameType, requestBlock, settings } from "./http2-frames.ts";
import {
  answerOf,
  call,
  held,
  preface,
  type Response,
  rawValues,
  serverEndCloses,
  stillServes,
  WIRES,
} from "./port-clients.ts";

for (const { name, open, dial, dialHttp2, session } of WIRES) {
  describe(`one port: HTTP/2 over ${name}`, { timeout: 20_000 }, () => {
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
      const client = await dialHttp2(await open(t));
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
      const client = await dialHttp2(server);
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
      await stillServes(server, dial);
    });

    test("refuses a call too many, retryably", async (t) => {
      const calls = held();
      const server = await open(t, { handler: calls.handler, limits: { maxCallsPerConnection: 2 } });
      const client = await dialHttp2(server);
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
        const client = await dialHttp2(
          await open(t, { handler, limits: { stallMs: 20 }, onError: () => {} }),
        );
        client.socket.pause();
        // Flow control is to stop nothing here, only TCP.
        const window = Buffer.alloc(4);
        window.writeUInt32BE(0x7fff_0000);
        await client.send(preface);
        await client.send(frame(frameType.settings, 0, 0, Buffer.concat([Buffer.of(0, 4), window])));
        await client.send(frame(frameType.windowUpdate, 0, 0, window));
        client.socket.write(frame(frameType.headers, endOfStreamAndHeaders, 1, requestBlock));
        await serverEndCloses(client);
        client.socket.destroy();
      });
    }

    test("cuts a session that does not go", async (t) => {
      const client = await dialHttp2(await open(t, { limits: { idleSessionMs: 20, lingerMs: 20 } }));
      client.socket.removeAllListeners("end");
      await client.send(preface);
      await serverEndCloses(client);
      assert.equal(client.socket.destroyed, false);
      client.socket.destroy();
    });

    test("closes when the client ends its half", async (t) => {
      const server = await open(t);
      const client = await dialHttp2(server);
      client.socket.write(preface);
      client.socket.end(settings);
      await client.closed;
    });
  });
}
