import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { get, held, rawValues, serverEndCloses, stillServes, WIRES } from "./port-clients.ts";

for (const { name, open, dial } of WIRES) {
  describe(`one port: HTTP/1.1 over ${name}`, { timeout: 20_000 }, () => {
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
      await serverEndCloses(client);
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
      await stillServes(server, dial);
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
      const deaf = await dial(server);
      deaf.socket.pause();
      deaf.socket.write(get("/deaf"));
      await calls.arrived(2);
      const cut = once(calls.response(1), "close");
      calls.answer("x".repeat(32 * 1024 * 1024), 1);
      await cut;
      deaf.socket.destroy();
      calls.answer("worth the wait", 0);
      await patient.until(/worth the wait/);
      patient.socket.destroy();
    });
  });
}
