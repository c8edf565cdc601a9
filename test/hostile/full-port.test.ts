// Who has to go where a port has no room for all.
import assert from "node:assert/strict";
import { constants, Http2ServerRequest } from "node:http2";
import { describe, test } from "node:test";
import { answerOf, call, get, held, serverEndCloses, stillServes, WIRES } from "../server/port-clients.ts";
import { cancel, page, preface } from "./frames.ts";

for (const { name, open, dial, dialHttp2, session } of WIRES) {
  describe(`a full port over ${name}`, { timeout: 20_000 }, () => {
    test("closes the connection that has gone longest without a call, not the newest", async (t) => {
      const server = await open(t, { limits: { maxConnections: 2 } });
      const first = await dial(server);
      const second = await dial(server);
      for (const client of [second, first]) {
        client.socket.write(get("/"));
        await client.until(/"body"/);
      }
      await stillServes(server, dial);
      await second.closed;
      first.socket.write(get("/again"));
      await first.until(/again/);
      first.socket.destroy();
    });

    test("spares the connection whose call has only just begun", async (t) => {
      const calls = held();
      const server = await open(t, { handler: calls.handler, limits: { maxConnections: 2 } });
      const quiet = await dial(server);
      const busy = session(t, server);
      const answer = call(busy);
      await calls.arrived();
      const third = await dial(server);
      await quiet.closed;
      calls.answer("served");
      assert.equal((await answer).body, "served");
      third.socket.destroy();
    });

    test("gives up the oldest calls of who has many, and none of who has few", async (t) => {
      const calls = held();
      const server = await open(t, { handler: calls.handler, limits: { maxCalls: 8 } });
      const few = session(t, server);
      const spared = [call(few), call(few)];
      await calls.arrived(2);
      const many = session(t, server);
      const streams = Array.from({ length: 6 }, () => many.request({ ":path": "/" }));
      const ends = streams.map(answerOf);
      const [oldest] = ends;
      assert.equal((await oldest)?.code, constants.NGHTTP2_CANCEL);
      calls.calls.forEach((_, index) => void calls.answer("served", index));
      for (const answer of [...spared, ends.at(-1)]) {
        assert.equal((await answer)?.body, "served");
      }
    });

    test("forgets the calls that have ended, however they did", async (t) => {
      const calls = held();
      const server = await open(t, { handler: calls.handler, limits: { maxCalls: 8 } });
      for (let round = 0; round < 8; round++) {
        const client = await dialHttp2(server);
        await client.send(Buffer.concat([preface, page(1), cancel(1), page(3)]));
        await calls.arrived(round + 1);
        client.reset();
        await serverEndCloses(client);
      }
      const other = session(t, server);
      const answers = Array.from({ length: 6 }, () => call(other));
      await calls.arrived(8 + 6);
      calls.calls.forEach((_, index) => void calls.answer("served", index));
      for (const answer of answers) {
        assert.equal((await answer).body, "served");
      }
    });

    test("does not hand over a call that its client takes back in the same breath", async (t) => {
      const calls = held();
      const server = await open(t, { handler: calls.handler });
      const client = await dialHttp2(server);
      client.socket.write(Buffer.concat([preface, page(1), cancel(1), page(3)]));
      await calls.arrived();
      const [[request] = []] = calls.calls;
      assert.ok(request instanceof Http2ServerRequest);
      assert.equal(request.stream.id, 3);
      client.socket.destroy();
    });
  });
}
