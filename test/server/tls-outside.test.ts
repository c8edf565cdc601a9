// Programs and libraries that are not ours, and the command itself.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { connect } from "node:tls";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { readTls, type TlsSettings } from "../../src/server/tls-files.ts";
import { urlOf } from "../support/cluster.ts";
import { cleanup, findProgram, freePort, latchkey, refusal } from "../support/process.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";
import { createAuthority, type Identity, temporary } from "./certificates.ts";

const authority = createAuthority();
const clients = createAuthority("Authority of clients");
const own = authority.issue();
const ofClient = clients.issue({ use: "clientAuth" });
const METHOD = "latchkey.v1.AuthenticationService/Authenticate";

/** What the program says; undefined, and the test skipped loudly, where there is no such program. */
async function run(t: TestContext, name: string, ...args: string[]): Promise<string | undefined> {
  const program = findProgram(name);
  if (program === undefined) {
    t.skip(`NOT TESTED: ${name} is not installed`);
    return undefined;
  }
  return (await promisify(execFile)(program, args, { timeout: 20_000 })).stdout;
}

for (const [asks, settings, present] of [
  ["no certificates of clients", {}, {}],
  ["them", { clientCaFile: clients.certificateFile }, ofClient],
] as readonly [string, Partial<TlsSettings>, Partial<Identity>][]) {
  describe(`a service over TLS that asks for ${asks}`, { timeout: 60_000 }, () => {
    let service: TestService;
    before(async () => {
      service = await startService({
        tls: await readTls({ ...own, ...settings, clientCertificates: "required" }),
      });
    });
    after(() => service.stop());

    /** Flags that present the client's certificate, where it is asked for. */
    const presenting = (certificate: string, key: string) =>
      present.certificateFile && present.keyFile
        ? [certificate, present.certificateFile, key, present.keyFile]
        : [];
    const question = () => ({ headers: [{ name: "X-API-Key", value: service.apiKey }] });
    const isRight = (answer: string | undefined) => {
      if (answer !== undefined) assert.equal(JSON.parse(answer).organization.id, service.organizationId);
    };

    for (const [flag, version] of [
      ["--http1.1", "1.1"],
      ["--http2", "2"],
      ["--no-alpn", "1.1"],
    ] as const) {
      for (const tls of ["1.2", "1.3"]) {
        test(`curl ${flag} by TLS ${tls}`, async (t) => {
          const tlsOnly = [`--tlsv${tls}`, "--tls-max", tls];
          const flags = ["-sS", "--cacert", authority.certificateFile, ...presenting("--cert", "--key")];
          const report = ["-w", "%{http_version} %{http_code} ", "-o", temporary("body")];
          const said = await run(t, "curl", ...flags, ...tlsOnly, ...report, flag, `${service.url}/readyz`);
          if (said !== undefined) assert.equal(said, `${version} 200 `);
        });
      }
    }

    test("curl refuses it without --cacert, and it refuses curl's TLS 1.1", async (t) => {
      const asked = (...flags: string[]) =>
        run(t, "curl", "-sS", ...presenting("--cert", "--key"), ...flags, `${service.url}/readyz`);
      await assert.rejects(asked(), { code: 60 });
      const old = ["--cacert", authority.certificateFile, "--tls-max", "1.1"];
      await assert.rejects(asked(...old, "--ciphers", "DEFAULT@SECLEVEL=0"), { code: 35 });
    });

    test("grpcurl, by reflection", async (t) => {
      const flags = ["-cacert", authority.certificateFile, ...presenting("-cert", "-key")];
      isRight(
        await run(
          t,
          "grpcurl",
          ...flags,
          "-d",
          JSON.stringify(question()),
          `127.0.0.1:${service.port}`,
          METHOD,
        ),
      );
    });

    for (const protocol of ["grpc", "grpcweb", "connect"]) {
      test(`buf curl by ${protocol}`, async (t) => {
        const flags = ["--cacert", authority.certificateFile, ...presenting("--cert", "--key")];
        const data = ["--protocol", protocol, "--data", JSON.stringify(question())];
        isRight(await run(t, "buf", "curl", ...flags, ...data, `${service.url}/${METHOD}`));
      });
    }

    for (const [name, httpVersion, create] of [
      ["gRPC", "2", createGrpcTransport],
      ["gRPC-Web", "1.1", createGrpcWebTransport],
      ["gRPC-Web", "2", createGrpcWebTransport],
      ["Connect", "1.1", createConnectTransport],
      ["Connect", "2", createConnectTransport],
    ] as const) {
      test(`connect-node by ${name} over HTTP/${httpVersion}`, async () => {
        const nodeOptions = { ca: authority.cert, ...present };
        const transport = create({ baseUrl: service.url, httpVersion, nodeOptions });
        const answer = await createClient(AuthenticationService, transport).authenticate(question());
        assert.equal(answer.organization?.id, service.organizationId);
      });
    }
  });
}

describe("latchkey serve over TLS", { timeout: 60_000 }, () => {
  const settings = (folder: string) => ({
    LATCHKEY_TLS_CERT_FILE: join(folder, "tls.crt"),
    LATCHKEY_TLS_KEY_FILE: join(folder, "tls.key"),
  });
  const place = (folder: string, identity: Identity) => {
    renameSync(temporary("new", identity.cert), join(folder, "tls.crt"));
    renameSync(temporary("new", identity.key), join(folder, "tls.key"));
  };
  const newFolder = () => {
    const folder = temporary("tls");
    mkdirSync(folder);
    return folder;
  };
  const served = (port: number) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", ca: authority.cert });
      socket.once("error", reject);
      socket.once("secureConnect", () => {
        resolve(socket.getPeerCertificate().fingerprint256);
        socket.destroy();
      });
    });

  test("does not start without its files, in one line, before it looks at the database", async (t) => {
    const line = await refusal(
      latchkey(cleanup(t), ["serve"], {
        env: {
          DATABASE_URL: "postgres://app@db.example.test/latchkey",
          LATCHKEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
          LATCHKEY_PUBLIC_URL: "https://auth.example.test",
          ...settings("/nowhere"),
        },
      }),
    );
    assert.match(line, /^LATCHKEY_TLS_CERT_FILE cannot be read: ENOENT/);
  });

  test("takes up changed files by itself and on SIGHUP, logs what is wrong, and ends well", async (t) => {
    const publicUrl = "https://auth.example.test";
    const seeded = await startService({ publicUrl, audience: publicUrl });
    await seeded.stop();
    const folder = newFolder();
    place(folder, own);
    const port = await freePort();
    const service = latchkey(cleanup(t), ["serve"], {
      env: {
        DATABASE_URL: urlOf(seeded.connection),
        LATCHKEY_ENCRYPTION_KEY: seeded.encryptionKey.toString("base64"),
        LATCHKEY_PUBLIC_URL: publicUrl,
        LATCHKEY_HOST: "127.0.0.1",
        LATCHKEY_PORT: String(port),
        ...settings(folder),
      },
    });
    await service.said(/"tls":true,"msg":"listening"/);
    assert.equal(await served(port), own.fingerprint);

    const [second, third, fourth] = [authority.issue(), authority.issue(), authority.issue()];
    place(folder, second);
    await service.said(new RegExp(`${second.fingerprint}.*"msg":"new connections`));
    assert.equal(await served(port), second.fingerprint);

    place(folder, third);
    service.kill("SIGHUP");
    await service.said(new RegExp(`${third.fingerprint}.*"msg":"new connections`));
    assert.equal(await served(port), third.fingerprint);

    renameSync(temporary("new", fourth.cert), join(folder, "tls.crt"));
    service.kill("SIGHUP");
    await service.said(/"level":50.*LATCHKEY_TLS_KEY_FILE is not the key/);
    assert.equal(await served(port), third.fingerprint);
    assert.doesNotMatch(service.stdout, /PRIVATE KEY/);

    service.kill("SIGTERM");
    assert.deepEqual(await service.ended(), { code: 0, signal: null });
    assert.equal(service.stderr, "");
  });
});
