import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { promisify } from "node:util";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { listenOnePort } from "../../src/server/one-port.ts";
import { endOfStreamAndHeaders, frame, framesOf, frameType, requestBlock, settings } from "./http2-frames.ts";
import {
  call,
  dialTcp,
  echo,
  get,
  open,
  preface,
  serverEndCloses,
  serverEnds,
  sessionOver,
  stillServes,
} from "./port-clients.ts";

describe("one port: which protocol", { timeout: 20_000 }, () => {
  test("takes connectNodeAdapter's handler", async (t) => {
    const server = await open(t, { handler: connectNodeAdapter({ routes: () => {} }) });
    assert.equal((await call(sessionOver("http")(t, server))).status, 404);
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
      const client = await dialTcp(server);
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
    const client = await dialTcp(await open(t));
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
        const client = await dialTcp(server);
        const request = `${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`;
        await client.send(request.slice(0, at));
        client.socket.write(request.slice(at));
        await client.until(new RegExp(`"httpVersion":"1.1","method":"${method}"`));
        client.socket.destroy();
      }
    }
  });

  test("knows HTTP/1.1 byte by byte", async (t) => {
    const client = await dialTcp(await open(t));
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
      const client = await dialTcp(server);
      client.socket.write(bytes, "latin1");
      assert.match(await client.rest(), /^HTTP\/1.1 400 Bad Request\r\nConnection: close\r\n/);
      await stillServes(server);
    });
  }

  test("closes on a preface that garbage follows", async (t) => {
    const server = await open(t);
    const client = await dialTcp(server);
    client.socket.write(`${preface}${get("/")}`);
    await client.closed;
    assert.ok(framesOf(client.bytes()).some(({ type }) => type === frameType.goaway));
    await stillServes(server);
  });

  for (const said of ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"]) {
    test(`cuts a socket that says ${JSON.stringify(said)} and no more`, async (t) => {
      const client = await dialTcp(await open(t, { limits: { decideMs: 20 } }));
      client.socket.write(said);
      assert.equal(await client.rest(), "");
    });

    test(`closes when the client ends after ${JSON.stringify(said)}`, async (t) => {
      const client = await dialTcp(await open(t));
      client.socket.end(said);
      assert.equal(await client.rest(), "");
    });

    test(`outlives a reset after ${JSON.stringify(said)}`, async (t) => {
      const server = await open(t);
      const client = await dialTcp(server);
      await client.send(said);
      while (!serverEnds.has(client.port)) await turn();
      client.reset();
      await serverEndCloses(client);
      await stillServes(server);
    });
  }

  test("makes room for who speaks by closing who has been silent longest", async (t) => {
    const server = await open(t, { limits: { maxUndecided: 2 } });
    const [first, second, third] = [await dialTcp(server), await dialTcp(server), await dialTcp(server)];
    await first.closed;
    second.socket.write(get("/second"));
    third.socket.write(get("/third"));
    await second.until(/second/);
    await third.until(/third/);
    second.socket.destroy();
    third.socket.destroy();
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
