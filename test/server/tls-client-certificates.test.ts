import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { readTls, type TlsSettings } from "../../src/server/tls-files.ts";
import { createAuthority, type Identity, temporary } from "./certificates.ts";
import {
  call,
  dialTls,
  echo,
  get,
  open,
  preface,
  serverEndCloses,
  sessionOver,
  stillServes,
  tls,
} from "./port-clients.ts";

const clients = createAuthority("Authority of clients");
// Of the same name: what counts is the key.
const strangers = createAuthority("Authority of clients");

const clientAuth = { use: "clientAuth" } as const;
const good = clients.issue(clientAuth);

const certificates: Readonly<Record<string, ConnectionOptions>> = {
  none: {},
  "a good one": good,
  "one of another authority": strangers.issue(clientAuth),
  "one that signed itself": createAuthority("test"),
  "one whose time is over": clients.issue({ ...clientAuth, from: "20200101000000Z", to: "20200102000000Z" }),
  "one whose time has not come": clients.issue({
    ...clientAuth,
    from: "20980101000000Z",
    to: "20990102000000Z",
  }),
  "one for servers": clients.issue(),
};

const asking = (some: Partial<TlsSettings>) => readTls({ ...tls.settings, ...some });
const asks = {
  optional: await asking({ clientCaFile: clients.certificateFile, clientCertificates: "optional" }),
  required: await asking({ clientCaFile: clients.certificateFile, clientCertificates: "required" }),
};
const taken = { optional: ["none", "a good one"], required: ["a good one"] };

for (const mode of ["optional", "required"] as const) {
  describe(`TLS: client certificates that are ${mode}`, { timeout: 20_000 }, () => {
    for (const [what, identity] of Object.entries(certificates)) {
      const isTaken = taken[mode].includes(what);
      for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
        for (const ALPNProtocols of [["h2"], ["http/1.1"]]) {
          test(`${isTaken ? "takes" : "refuses"} ${what}: ${version}, ${ALPNProtocols}`, async (t) => {
            let calls = 0;
            const server = await open(t, {
              tls: asks[mode],
              handler: (...call) => {
                calls += 1;
                return echo(...call);
              },
              onError: () => assert.fail("what a client does is no news"),
            });
            // TLS 1.3 lets the client go on before its certificate is judged.
            const options = { ...identity, ALPNProtocols, maxVersion: version };
            const client = await dialTls(server, options).catch(() => undefined);
            if (isTaken && ALPNProtocols[0] === "h2") {
              client?.socket.destroy();
              assert.equal((await call(sessionOver("https", options)(t, server))).status, 200);
            } else if (isTaken) {
              client?.socket.write(get("/"));
              await client?.until(/"body"/);
            } else {
              client?.socket.write(ALPNProtocols[0] === "h2" ? preface : get("/"));
              if (client !== undefined) assert.equal(await client.rest(), "");
              if (client !== undefined) await serverEndCloses(client);
            }
            client?.socket.destroy();
            assert.equal(calls, isTaken ? 1 : 0);
            await stillServes(server, (port) => dialTls(port, good));
          });
        }
      }
    }

    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      test(`are asked for on every connection, whatever ticket comes: ${version}`, async (t) => {
        const server = await open(t, { tls: asks[mode] });
        const options = { ...good, maxVersion: version };
        const client = await dialTls(server, options);
        const told = version === "TLSv1.3" ? once(client.socket, "session") : [];
        client.socket.write(get("/"));
        await client.until(/"body"/);
        const [session = (client.socket as TLSSocket).getSession()] = await told;
        client.socket.destroy();
        const again = await dialTls(server, { ...options, session });
        assert.equal((again.socket as TLSSocket).isSessionReused(), false);
        again.socket.destroy();
        const without = await dialTls(server, { maxVersion: version, session }).catch(() => undefined);
        assert.notEqual((without?.socket as TLSSocket | undefined)?.isSessionReused(), true);
        without?.socket.destroy();
      });
    }
  });
}

describe("TLS: the authorities of client certificates", { timeout: 20_000 }, () => {
  test("are asked for nothing where there are none", async (t) => {
    const server = await open(t, { tls });
    await stillServes(server, (port) => dialTls(port, strangers.issue(clientAuth)));
  });

  test("are taken up when they change: for new connections, not for open ones", async (t) => {
    const clientCaFile = temporary("ca.pem", clients.cert);
    const server = await open(t, { tls: await asking({ clientCaFile }) });
    const stranger = strangers.issue(clientAuth);
    const serves = (identity: Identity) => stillServes(server, (port) => dialTls(port, identity));
    const refuses = async (identity: Identity) =>
      assert.equal(await (await dialTls(server, identity)).rest(), "");

    const before = await dialTls(server, good);
    await refuses(stranger);
    writeFileSync(clientCaFile, Buffer.concat([clients.cert, strangers.cert]));
    await server.renewTls();
    await serves(good);
    await serves(stranger);
    writeFileSync(clientCaFile, strangers.cert);
    await server.renewTls();
    await refuses(good);
    await serves(stranger);

    before.socket.write(get("/"));
    await before.until(/"body"/);
    before.socket.destroy();
  });

  test("may stand above others, which clients bring along", async (t) => {
    const between = clients.issue({ ...clientAuth, isAuthority: true });
    const leaf = between.issue(clientAuth);
    const server = await open(t, { tls: asks.required });
    const chain = Buffer.concat([leaf.cert, between.cert]);
    await stillServes(server, (port) => dialTls(port, { ...leaf, cert: chain }));
    assert.equal(await (await dialTls(server, leaf)).rest(), "");
  });
});
