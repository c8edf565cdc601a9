import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { describe, test } from "node:test";
import {
  acknowledge,
  endOfStreamAndHeaders,
  frame,
  framesOf,
  frameType,
  requestBlock,
  settings,
} from "./http2-frames.ts";
import { answerOf, call, dialTcp, get, held, preface, WIRES } from "./port-clients.ts";

for (const { name, open, dial, dialHttp2, session } of WIRES) {
  describe(`one port: closing over ${name}`, { timeout: 20_000 }, () => {
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
      const server = await open(t, { limits: { decideMs: 1_000_000 } });
      const [idle, undecided, silent] = [await dial(server), await dialTcp(server), await dialTcp(server)];
      idle.socket.write(get("/"));
      await idle.until(/"body"/);
      await undecided.send("PRI");
      const idleSession = session(t, server);
      assert.equal((await call(idleSession)).status, 200);
      const goaway = once(idleSession, "goaway");
      await server.close(1_000_000);
      await Promise.all([idle.closed, undecided.closed, silent.closed, goaway]);
    });

    test("sends GOAWAY, lets the HTTP/2 calls end and refuses others so that they can be sent again", async (t) => {
      const calls = held();
      const server = await open(t, { handler: calls.handler });
      const client = await dialHttp2(server);
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
}
