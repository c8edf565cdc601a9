import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, readConfig, tlsSettings } from "../../src/config.ts";

const CERT = "LATCHKEY_TLS_CERT_FILE";
const KEY = "LATCHKEY_TLS_KEY_FILE";
const CA = "LATCHKEY_TLS_CLIENT_CA_FILE";
const MODE = "LATCHKEY_TLS_CLIENT_CERTIFICATES";

const faultsOf = (env: NodeJS.ProcessEnv): readonly string[] => {
  try {
    readConfig(env, "dev");
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.faults;
  }
};

for (const [set, missing] of [
  [[CERT], [[CERT, KEY]]],
  [[KEY], [[KEY, CERT]]],
  [[CERT, CA], [[CERT, KEY]]],
  [[CA], [[CA, CERT]]],
  [[MODE], [[MODE, CA]]],
  [[CERT, KEY, MODE], [[MODE, CA]]],
] as const) {
  test(`refuses ${set.join(" and ")} alone, naming what goes with it`, () => {
    const env = Object.fromEntries(set.map((name) => [name, name === MODE ? "optional" : "/some/file.pem"]));
    assert.deepEqual(
      faultsOf(env),
      missing.map(([name, other]) => `${name} is set and ${other} is not; they go together`),
    );
  });
}

test("asks for client certificates where there are authorities, and requires them unless told otherwise", () => {
  const env = { [CERT]: "c.pem", [KEY]: "k.pem" };
  assert.equal(tlsSettings(readConfig({}, "dev")), undefined);
  const files = { certificateFile: "c.pem", keyFile: "k.pem" };
  const of = (env: NodeJS.ProcessEnv) => tlsSettings(readConfig(env, "dev"));
  assert.equal(of(env)?.clientCaFile, undefined);
  assert.deepEqual(of({ ...env, [CA]: "ca.pem" }), {
    ...files,
    clientCaFile: "ca.pem",
    clientCertificates: "required",
  });
  assert.equal(of({ ...env, [CA]: "ca.pem", [MODE]: "optional" })?.clientCertificates, "optional");
});
