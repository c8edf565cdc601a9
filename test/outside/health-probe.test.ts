// grpc_health_probe, by which containers are asked whether they are well.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, type TestContext, test } from "node:test";
import { SERVICES } from "../../src/server/routes.ts";
import { readTls } from "../../src/server/tls-files.ts";
import { createAuthority } from "../server/certificates.ts";
import { createDatabase, urlOf } from "../support/cluster.ts";
import { cleanup, findProgram, freePort, latchkey, run } from "../support/process.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";

const PROBE = findProgram("grpc-health-probe") ?? findProgram("grpc_health_probe");
const MODULE = "github.com/grpc-ecosystem/grpc-health-probe";
const options = {
  timeout: 60_000,
  ...(PROBE === undefined && {
    skip: `NOT TESTED: grpc_health_probe is not installed: go install ${MODULE}@latest`,
  }),
};

/** The probe's exit codes, by its README. */
const WELL = 0;
const NO_CONNECTION = 2;
const NO_ANSWER = 3;
const NOT_SERVING = 4;

/** It tries to connect for as long as it may. */
const IN_HASTE = ["-connect-timeout", "500ms"];

/** Runs the probe. @returns its exit code and what it says. */
async function probe(t: TestContext, port: number, ...flags: readonly string[]) {
  const patience = ["-connect-timeout", "5s", "-rpc-timeout", "5s"];
  const running = run(cleanup(t), [PROBE ?? "", "-addr", `127.0.0.1:${port}`, ...patience, ...flags]);
  const { code } = await running.ended();
  return { code, said: running.stdout + running.stderr };
}

const authority = createAuthority();
const clients = createAuthority("Authority of clients");
const ofClient = clients.issue({ use: "clientAuth" });
const trusting = ["-tls", "-tls-ca-cert", authority.certificateFile];
const presenting = ["-tls-client-cert", ofClient.certificateFile, "-tls-client-key", ofClient.keyFile];

for (const [over, clientCaFile, flags, wrong] of [
  ["plaintext", undefined, [], [["-tls", "-tls-no-verify"]]],
  ["TLS", undefined, trusting, [[], ["-tls"]]],
  ["TLS with certificates of clients", clients.certificateFile, [...trusting, ...presenting], [trusting]],
] as readonly [string, string | undefined, readonly string[], readonly (readonly string[])[]][]) {
  describe(`a service over ${over}`, options, () => {
    let service: TestService;
    before(async () => {
      const identity = { ...authority.issue(), clientCaFile, clientCertificates: "required" } as const;
      service = await startService(over === "plaintext" ? {} : { tls: await readTls(identity) });
    });
    after(() => service.stop());

    test("is well, as a whole and each of its services", async (t) => {
      for (const name of ["", ...SERVICES.map(({ typeName }) => typeName)]) {
        const { code, said } = await probe(t, service.port, ...flags, "-service", name);
        assert.deepEqual([code, said.trim()], [WELL, "status: SERVING"], name);
      }
    });

    test("is well in gzip too, and whatever the probe presents", async (t) => {
      const { code, said } = await probe(
        t,
        service.port,
        ...flags,
        "-gzip",
        "-rpc-header",
        "x-api-key: garbage",
      );
      assert.equal(code, WELL, said);
    });

    test("does not know a service that it does not have", async (t) => {
      const { code, said } = await probe(t, service.port, ...flags, "-service", "latchkey.v1.Nobody");
      assert.equal(code, NO_ANSWER, said);
      assert.match(said, /NotFound/);
    });

    test("has no connection with who speaks otherwise", async (t) => {
      for (const others of wrong) {
        const { code, said } = await probe(t, service.port, ...others, ...IN_HASTE);
        assert.equal(code, NO_CONNECTION, said);
      }
    });
  });
}

test("latchkey serve is well, and then not serving while it drains", options, async (t) => {
  const port = await freePort();
  assert.equal((await probe(t, port, ...IN_HASTE)).code, NO_CONNECTION);
  const service = latchkey(cleanup(t), ["serve"], {
    env: {
      DATABASE_URL: urlOf(await createDatabase()),
      LATCHKEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
      LATCHKEY_PUBLIC_URL: "https://latchkey.test",
      LATCHKEY_HOST: "127.0.0.1",
      LATCHKEY_PORT: String(port),
      LATCHKEY_NOTICE_SECONDS: "60",
    },
  });
  await service.said(/"msg":"listening"/);
  assert.equal((await probe(t, port)).code, WELL);

  service.kill("SIGTERM");
  await until("it says that it drains", async () => (await probe(t, port)).code === NOT_SERVING);
  const { code, said } = await probe(t, port, "-service", AuthenticationService.typeName);
  assert.equal(code, NOT_SERVING, said);
  assert.match(said, /NOT_SERVING/);

  // Not once: two within a moment may be one that came by two ways.
  await until("it has ended", () => {
    service.kill("SIGTERM");
    return !service.isAlive;
  });
  assert.equal((await probe(t, port, ...IN_HASTE)).code, NO_CONNECTION);
});
