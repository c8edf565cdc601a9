import assert from "node:assert/strict";
import { once } from "node:events";
import {
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { readTls, TlsFilesError } from "../../src/server/tls-files.ts";
import { type Identity, temporary } from "./certificates.ts";
import {
  answerOf,
  authority,
  call,
  dialTls,
  get,
  held,
  type Options,
  open,
  sessionOver,
} from "./port-clients.ts";

/** Different keys, and files of the same length: what is told apart is what they hold. */
const [first, second, third] = [authority.issue(), authority.issue(), authority.issue()];

const write = (into: string, { cert, key }: { cert: Buffer | string; key: Buffer | string }) => {
  writeFileSync(join(into, "tls.crt"), cert);
  writeFileSync(join(into, "tls.key"), key);
};

const rename = (into: string, { cert, key }: Identity) => {
  renameSync(temporary("new", cert), join(into, "tls.crt"));
  renameSync(temporary("new", key), join(into, "tls.key"));
};

/** As Kubernetes mounts a secret: the files are links through `..data`, which is swapped. */
const swap = (into: string, identity: Identity) => {
  const version = temporary("version");
  mkdirSync(version);
  write(version, identity);
  const link = temporary("data");
  symlinkSync(version, link);
  renameSync(link, join(into, "..data"));
};

/** A port on files of its own, that looks as often as it can or only when it is told to. */
async function serve(
  t: TestContext,
  {
    pollMs = 1_000_000,
    place = write,
    ...options
  }: Options & { pollMs?: number; place?: (into: string, identity: Identity) => void } = {},
) {
  const folder = temporary("tls");
  mkdirSync(folder);
  t.after(() => rmSync(folder, { recursive: true }));
  place(folder, first);
  if (place === swap) {
    for (const name of ["tls.crt", "tls.key"]) symlinkSync(join("..data", name), join(folder, name));
  }
  const faults: unknown[] = [];
  const renewals: string[] = [];
  const told = { resolve: () => {} };
  const tls = await readTls({
    certificateFile: join(folder, "tls.crt"),
    keyFile: join(folder, "tls.key"),
    clientCertificates: "required",
    pollMs,
  });
  const server = await open(t, {
    tls,
    onError: (fault) => {
      faults.push(fault);
      told.resolve();
    },
    onTlsRenewed: ({ certificate }) => {
      renewals.push(certificate.fingerprint256);
      told.resolve();
    },
    ...options,
  });
  return {
    server,
    folder,
    faults,
    renewals,
    /** Until the port tells anything more. */
    news: () =>
      new Promise<void>((resolve) => {
        told.resolve = resolve;
      }),
    /** Which certificate a new connection gets. */
    async served(): Promise<Identity | undefined> {
      const client = await dialTls(server);
      const { fingerprint256 } = (client.socket as TLSSocket).getPeerCertificate();
      client.socket.destroy();
      return [first, second, third].find(({ fingerprint }) => fingerprint === fingerprint256);
    },
  };
}

describe("TLS files that change", { timeout: 20_000 }, () => {
  for (const [how, place] of [
    ["written", write],
    ["renamed", rename],
    ["swapped by a link", swap],
  ] as const) {
    test(`are taken up without being asked where they are ${how}`, async (t) => {
      const port = await serve(t, { pollMs: 5, place });
      assert.equal(await port.served(), first);
      for (const next of [second, third]) {
        place(port.folder, next);
        // Between the two files the port may see a pair that does not match.
        while (port.renewals.at(-1) !== next.fingerprint) await port.news();
        assert.equal(await port.served(), next);
      }
      for (const fault of port.faults) assert.match(String(fault), /is not the key of/);
    });
  }

  test("are taken up though neither their length nor their time has changed", async (t) => {
    const port = await serve(t);
    const files = ["tls.crt", "tls.key"].map((name) => join(port.folder, name));
    const times = files.map((file) => statSync(file));
    const padded = (pem: Buffer, length: number) => pem.toString().padEnd(length, "\n");
    write(port.folder, {
      cert: padded(second.cert, times[0]?.size ?? 0),
      key: padded(second.key, times[1]?.size ?? 0),
    });
    times.forEach(({ atime, mtime }, at) => {
      utimesSync(files[at] ?? "", atime, mtime);
    });
    await port.server.renewTls();
    assert.equal(await port.served(), second);
  });

  test("leave open connections as they are, and their calls in flight", async (t) => {
    const calls = held();
    const port = await serve(t, { handler: calls.handler });
    const session = sessionOver("https")(t, port.server);
    const http1 = await dialTls(port.server);
    session.on("goaway", () => assert.fail("it is not to go"));
    const inFlight = Array.from({ length: 20 }, () => call(session));
    http1.socket.write(get("/"));
    await calls.arrived(21);
    rename(port.folder, second);
    await port.server.renewTls();
    assert.equal(await port.served(), second);
    for (let at = 0; at <= 20; at++) calls.answer("answered", at);
    for (const answer of await Promise.all(inFlight)) {
      assert.partialDeepStrictEqual(answer, { status: 200, body: "answered", error: undefined });
    }
    await http1.until(/answered$/);
    const more = call(session);
    http1.socket.write(get("/"));
    await calls.arrived(23);
    for (const at of [21, 22]) calls.answer("and more", at);
    assert.equal((await more).body, "and more");
    await http1.until(/and more$/);
    const { fingerprint256 } = (session.socket as TLSSocket).getPeerCertificate();
    assert.equal(fingerprint256, first.fingerprint);
    session.removeAllListeners("goaway");
    http1.socket.destroy();
  });

  test("are told of once, when they are good", async (t) => {
    const port = await serve(t);
    rename(port.folder, second);
    for (let look = 0; look < 3; look++) await port.server.renewTls();
    assert.deepEqual(port.renewals, [second.fingerprint]);
    assert.deepEqual(port.faults, []);
  });

  test("are looked at no more when the port closes", async (t) => {
    const port = await serve(t, { pollMs: 1 });
    await port.server.close(0);
    rename(port.folder, second);
    await port.server.renewTls();
    assert.deepEqual(port.renewals, []);
  });
});

describe("TLS files that change for the worse", { timeout: 20_000 }, () => {
  const half = (pem: Buffer) => pem.subarray(0, pem.length / 2);

  for (const [what, spoil, message] of [
    [
      "a certificate without its key",
      (folder) => writeFileSync(join(folder, "tls.crt"), second.cert),
      /^LATCHKEY_TLS_KEY_FILE is not the key of/,
    ],
    [
      "a key without its certificate",
      (folder) => writeFileSync(join(folder, "tls.key"), second.key),
      /^LATCHKEY_TLS_KEY_FILE is not the key of/,
    ],
    [
      "half a certificate",
      (folder) => write(folder, { cert: half(second.cert), key: second.key }),
      /^LATCHKEY_TLS_CERT_FILE is cut short/,
    ],
    [
      "half a key",
      (folder) => write(folder, { cert: second.cert, key: half(second.key) }),
      /^LATCHKEY_TLS_KEY_FILE holds no private key/,
    ],
    [
      "nothing",
      (folder) => write(folder, { cert: "", key: "" }),
      /^LATCHKEY_TLS_CERT_FILE holds no certificate/,
    ],
    [
      "no file",
      (folder) => unlinkSync(join(folder, "tls.key")),
      /^LATCHKEY_TLS_KEY_FILE cannot be read: ENOENT/,
    ],
  ] as const satisfies [string, (folder: string) => void, RegExp][]) {
    test(`${what}: keeps what it had, tells it once, and takes up what becomes right`, async (t) => {
      const port = await serve(t);
      spoil(port.folder);
      for (let look = 0; look < 3; look++) await port.server.renewTls();
      assert.equal(port.faults.length, 1);
      assert.ok(port.faults[0] instanceof TlsFilesError);
      assert.match(port.faults[0].message, message);
      assert.equal(await port.served(), first);
      write(port.folder, third);
      await port.server.renewTls();
      assert.equal(await port.served(), third);
      assert.equal(port.faults.length, 1);

      spoil(port.folder);
      await port.server.renewTls();
      assert.equal(port.faults.length, 2, "a fault that comes again is told again");
      unlinkSync(join(port.folder, "tls.crt"));
      await port.server.renewTls();
      assert.equal(port.faults.length, 3, "and so is another");
    });
  }

  test("what it had comes back: tells nothing more", async (t) => {
    const port = await serve(t);
    unlinkSync(join(port.folder, "tls.key"));
    await port.server.renewTls();
    write(port.folder, first);
    await port.server.renewTls();
    assert.equal(port.faults.length, 1);
    assert.deepEqual(port.renewals, []);
    assert.equal(await port.served(), first);
  });

  test("a certificate whose time is over is served, and told once", async (t) => {
    const port = await serve(t);
    const over = authority.issue({ from: "20200101000000Z", to: "20200102000000Z" });
    rename(port.folder, over);
    for (let look = 0; look < 3; look++) await port.server.renewTls();
    assert.deepEqual(port.renewals, [over.fingerprint]);
    assert.equal(port.faults.length, 1);
    assert.match(String(port.faults[0]), /LATCHKEY_TLS_CERT_FILE .* expired at 2020-01-02/);
    await assert.rejects(dialTls(port.server), { code: "CERT_HAS_EXPIRED" });
  });
});

describe("TLS: closing", { timeout: 20_000 }, () => {
  test("loses no call of any connection, and sends GOAWAY to each", async (t) => {
    const calls = held();
    const port = await serve(t, { handler: calls.handler });
    const sessions = Array.from({ length: 10 }, () => sessionOver("https")(t, port.server));
    const goaways = sessions.map((session) => once(session, "goaway"));
    const http1 = await Promise.all(Array.from({ length: 10 }, () => dialTls(port.server)));
    const streams = sessions.flatMap((session) =>
      Array.from({ length: 10 }, () => answerOf(session.request({ ":path": "/" }))),
    );
    for (const client of http1) client.socket.write(get("/"));
    await calls.arrived(110);
    const closed = port.server.close(10_000);
    await Promise.all(goaways);
    for (let at = 0; at < 110; at++) calls.answer("answered", at);
    for (const answer of await Promise.all(streams)) {
      assert.partialDeepStrictEqual(answer, { status: 200, body: "answered", error: undefined });
    }
    for (const client of http1) assert.match(await client.rest(), /Connection: close\r\n.*answered$/s);
    await closed;
  });
});
