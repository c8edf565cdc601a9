import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { NodeHandler } from "../../src/server/node-handler.ts";
import { call, get, held, WIRES } from "./port-clients.ts";

for (const { name, open, dial, session } of WIRES) {
  describe(`one port: a handler's faults over ${name}`, { timeout: 20_000 }, () => {
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
      http1.reset();
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
}
