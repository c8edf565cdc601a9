import assert from "node:assert/strict";
import { once } from "node:events";
import { networkInterfaces } from "node:os";
import { Duplex } from "node:stream";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type ConnectionOptions, connect as connectTls, type SecureVersion, type TLSSocket } from "node:tls";
import type { NodeHandler } from "../../src/server/node-handler.ts";
import { readTls } from "../../src/server/tls-files.ts";
import {
  authority,
  type Client,
  call,
  dialTcp,
  dialTls,
  get,
  open,
  preface,
  serverEndCloses,
  serverEnds,
  sessionOver,
  stillServes,
  tls,
} from "./port-clients.ts";

const stillSpeaksTls = (server: Parameters<typeof stillServes>[0]) => stillServes(server, dialTls);
const noNews = () => assert.fail("what a client does is no news");
const tlsOf = (client: Client) => client.socket as TLSSocket;

/** What a client says first. */
async function clientHello(): Promise<Buffer> {
  const said = Promise.withResolvers<Buffer>();
  const wire = new Duplex({ read() {}, write: (chunk) => said.resolve(chunk) });
  connectTls({ socket: wire }).on("error", () => {});
  const hello = await said.promise;
  wire.destroy();
  return hello;
}

const rsa = await readTls({
  ...authority.issue({ key: ["-newkey", "rsa:2048", "-nodes"] }),
  clientCertificates: "required",
});

describe("TLS: which protocol", { timeout: 20_000 }, () => {
  for (const [offer, answer, version] of [
    [["h2"], "h2", "2.0"],
    [["http/1.1"], "http/1.1", "1.1"],
    [["http/1.1", "h2"], "h2", "2.0"],
    [["spdy/3", "http/1.1"], "http/1.1", "1.1"],
    [undefined, false, "1.1"],
  ] as const) {
    test(`speaks HTTP/${version} to who offers ${offer ?? "nothing"}`, async (t) => {
      const server = await open(t, { tls });
      const client = await dialTls(server, offer && { ALPNProtocols: [...offer] });
      assert.equal(tlsOf(client).alpnProtocol, answer);
      if (version === "1.1") client.socket.write(get("/"));
      else assert.equal((await call(sessionOver("https")(t, server))).status, 200);
      if (version === "1.1") await client.until(/"httpVersion":"1.1"/);
      client.socket.destroy();
    });
  }

  for (const offer of [undefined, ["http/1.1"]]) {
    test(`answers 400 to HTTP/2 from who offered ${offer ?? "nothing"}`, async (t) => {
      const server = await open(t, { tls });
      const client = await dialTls(server, offer && { ALPNProtocols: offer });
      client.socket.write(preface);
      assert.match(await client.rest(), /^HTTP\/1.1 400 Bad Request\r\nConnection: close\r\n/);
      await stillSpeaksTls(server);
    });
  }

  test("closes on HTTP/1.1 from who was promised HTTP/2", async (t) => {
    const server = await open(t, { tls, onError: noNews });
    const client = await dialTls(server, { ALPNProtocols: ["h2"] });
    client.socket.write(get("/"));
    assert.doesNotMatch(await client.rest(), /HTTP\/1.1/);
    await stillSpeaksTls(server);
  });

  test("refuses a client that offers nothing we speak (RFC 7301 §3.2)", async (t) => {
    const server = await open(t, { tls, onError: noNews });
    await assert.rejects(dialTls(server, { ALPNProtocols: ["http/1.0", "spdy/3"] }), {
      code: "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
    });
    await stillSpeaksTls(server);
  });
});

describe("TLS: how it is spoken", { timeout: 20_000 }, () => {
  const only = (version: SecureVersion): ConnectionOptions => ({ minVersion: version, maxVersion: version });

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    for (const [key, identity] of [
      ["ECDSA", tls],
      ["RSA", rsa],
    ] as const) {
      test(`speaks ${version} with ${key} and AEAD only`, async (t) => {
        const client = await dialTls(await open(t, { tls: identity }), only(version));
        assert.equal(tlsOf(client).getProtocol(), version);
        assert.match(tlsOf(client).getCipher().standardName, /^TLS_(ECDHE_\w+_WITH_)?AES_\d+_GCM_/);
        client.socket.write(get("/"));
        await client.until(/"body"/);
        client.socket.destroy();
      });
    }
  }

  for (const version of ["TLSv1", "TLSv1.1"] as const) {
    test(`refuses ${version} (RFC 8996)`, async (t) => {
      const server = await open(t, { tls, onError: noNews });
      await assert.rejects(dialTls(server, { ...only(version), ciphers: "DEFAULT@SECLEVEL=0" }), {
        code: "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION",
      });
      await stillSpeaksTls(server);
    });
  }

  for (const cipher of ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384"]) {
    test(`refuses ${cipher}, which RFC 9113 appendix A lists`, async (t) => {
      const server = await open(t, { tls: rsa });
      await assert.rejects(dialTls(server, { ...only("TLSv1.2"), ciphers: cipher }), {
        message: /handshake failure/,
      });
    });
  }

  test("speaks what RFC 9113 §9.2.2 demands", async (t) => {
    const demanded = { ciphers: "ECDHE-RSA-AES128-GCM-SHA256", ecdhCurve: "P-256" };
    const client = await dialTls(await open(t, { tls: rsa }), { ...only("TLSv1.2"), ...demanded });
    client.socket.destroy();
  });

  test("refuses renegotiation (RFC 9113 §9.2.1)", async (t) => {
    const server = await open(t, { tls, onError: noNews });
    const client = await dialTls(server, only("TLSv1.2"));
    const refusal = await new Promise<Error | null>((resolve) => {
      client.socket.once("error", resolve);
      tlsOf(client).renegotiate({}, resolve);
    });
    assert.match(refusal?.message ?? "", /no renegotiation/);
    await stillSpeaksTls(server);
  });
});

describe("TLS: handshakes that fail", { timeout: 20_000 }, () => {
  const garbage: readonly (readonly [string, string | Buffer])[] = [
    ["plain HTTP/1.1", get("/")],
    ["plain HTTP/2", preface],
    ["garbage", "\0\xff\0\xff\r\n\r\n"],
    ["a record that is too long", "\x16\x03\x01\xff\xff"],
    ["a handshake of nonsense", Buffer.from("16030100050100000100", "hex")],
    ["application data first", Buffer.from("170303000548656c6c6f", "hex")],
    ["an alert", Buffer.from("15030300020228", "hex")],
    [
      "SSLv2",
      Buffer.from(
        `802e0100020015000000100100800200800300800400800500800600400700c0${"00".repeat(16)}`,
        "hex",
      ),
    ],
  ];
  for (const [what, bytes] of garbage) {
    test(`closes on ${what}, without a word in it`, async (t) => {
      const server = await open(t, { tls, onError: noNews });
      const client = await dialTcp(server);
      const errors: unknown[] = [];
      client.socket.on("error", (error) => errors.push(error));
      client.socket.write(bytes, "latin1");
      await client.closed;
      // Nothing, or an alert (RFC 8446 §6).
      assert.match(client.bytes().toString("hex"), /^(1503[0-9a-f]{4}02[0-9a-f]{4})?$/);
      assert.deepEqual(errors, []);
      await stillSpeaksTls(server);
    });
  }

  test("closes on a ClientHello that garbage follows", async (t) => {
    const server = await open(t, { tls, onError: noNews });
    const client = await dialTcp(server);
    client.socket.write(await clientHello());
    client.socket.write("garbage\r\n\r\n");
    await client.closed;
    await stillSpeaksTls(server);
  });

  test("cuts who says nothing", async (t) => {
    const client = await dialTcp(await open(t, { tls, limits: { decideMs: 20 }, onError: noNews }));
    assert.equal(await client.rest(), "");
  });

  test("cuts who does not go on after ClientHello", async (t) => {
    const client = await dialTcp(await open(t, { tls, limits: { decideMs: 20 }, onError: noNews }));
    client.socket.write(await clientHello());
    // Its answer is a handshake's too.
    assert.equal((await client.rest()).charCodeAt(0), 0x16);
  });

  test("cuts who goes on and on, byte by byte", async (t) => {
    const client = await dialTcp(await open(t, { tls, limits: { decideMs: 40 }, onError: noNews }));
    // A record of 4 KiB, of which a ClientHello of 4092 bytes is the content.
    await client.send(Buffer.from("160301100001000ffc", "hex"));
    let sent = 0;
    for (; !client.socket.destroyed && sent < 4000; sent++) await client.send("\x03");
    assert.ok(client.socket.destroyed, `${sent} bytes prolonged it`);
  });

  test("does not cut a connection whose handshake has ended", async (t) => {
    const server = await open(t, { tls, limits: { decideMs: 100 } });
    const client = await dialTls(server);
    await (await dialTcp(server)).closed;
    client.socket.write(get("/alive"));
    await client.until(/alive/);
    client.socket.destroy();
  });

  for (const [how, end] of [
    ["ends", (client: Client) => client.socket.end()],
    ["resets", (client: Client) => client.reset()],
  ] as const) {
    test(`outlives a client that ${how} in its handshake, whenever`, async (t) => {
      const server = await open(t, { tls, onError: noNews });
      const hello = await clientHello();
      for (const said of [0, 1, 5, 100, hello.length]) {
        const client = await dialTcp(server);
        while (!serverEnds.has(client.port)) await turn();
        await client.send(hello.subarray(0, said));
        end(client);
        await serverEndCloses(client);
      }
      await stillSpeaksTls(server);
    });

    test(`outlives a client that ${how} as soon as its handshake has ended`, async (t) => {
      const server = await open(t, { tls, onError: noNews });
      for (const ALPNProtocols of [["h2"], ["http/1.1"]]) {
        for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
          const client = await dialTls(server, { ALPNProtocols, maxVersion: version });
          end(client);
          await serverEndCloses(client);
        }
      }
      await stillSpeaksTls(server);
    });
  }

  test("keeps no more of them than it may, and serves who goes on", async (t) => {
    const server = await open(t, { tls, limits: { maxUndecided: 20 }, onError: noNews });
    const hello = await clientHello();
    const flood = [];
    for (let at = 0; at < 100; at++) {
      const client = await dialTcp(server);
      await client.send(at % 2 === 0 ? hello : "");
      while (!serverEnds.has(client.port) && !client.socket.destroyed) await turn();
      flood.push(client);
    }
    await Promise.all(flood.slice(0, 80).map(({ closed }) => closed));
    const kept = [...serverEnds.values()].filter(({ localPort }) => localPort === server.port);
    assert.equal(kept.length, 20);
    await stillSpeaksTls(server);
    for (const { socket } of flood) socket.destroy();
  });
});

describe("TLS: whose connection it is", { timeout: 20_000 }, () => {
  const peer: NodeHandler = ({ socket }, response) => {
    response.end(`peer=${socket.remoteAddress}:${socket.remotePort} `);
  };

  test("tells each of many HTTP/1.1 clients apart", async (t) => {
    const server = await open(t, { tls, handler: peer });
    const clients = await Promise.all(Array.from({ length: 50 }, () => dialTls(server)));
    for (const client of clients) client.socket.write(get("/"));
    for (const client of clients) {
      assert.ok((await client.until(/peer=/)).includes(`peer=127.0.0.1:${client.port} `));
      client.socket.destroy();
    }
  });

  test("and each of many HTTP/2 clients", async (t) => {
    const server = await open(t, { tls, handler: peer });
    const sessions = Array.from({ length: 50 }, () => sessionOver("https")(t, server));
    await Promise.all(sessions.map((session) => once(session, "connect")));
    for (const session of sessions) {
      assert.equal((await call(session)).body, `peer=127.0.0.1:${session.socket?.localPort} `);
    }
  });

  const hasIpv6 = Object.values(networkInterfaces()).some((on) =>
    on?.some(({ address }) => address === "::1"),
  );
  test("over IPv6 too", { skip: !hasIpv6 }, async (t) => {
    const server = await open(t, { tls, handler: peer, host: "::1" });
    const client = await dialTls(server);
    client.socket.write(get("/"));
    assert.ok((await client.until(/peer=/)).includes(`peer=::1:${client.port} `));
    client.socket.destroy();
  });
});
