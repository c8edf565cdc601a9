import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import type { Command } from "commander";
import { buildProgram } from "../../src/cli/program.ts";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { readTls } from "../../src/server/tls-files.ts";
import { createAuthority } from "../server/certificates.ts";
import { cleanup, temporaryFolder } from "../support/process.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";
import { field, operatorWith } from "./operator.ts";

/** Whom a command acts as, and where. */
describe("a command of the operators", { concurrency: 3 }, () => {
  let service: TestService;
  before(async () => {
    service = await startService();
  });
  after(() => service.stop());

  /** What `npm start` would have written, in a data directory of the test's own. */
  function devFolder(t: TestContext, changes: object = {}): string {
    const folder = temporaryFolder(cleanup(t));
    const { url, organizationId, admin, apiKey, internalKey } = service;
    const dev = { url, organizationId, email: admin.email, password: admin.password, apiKey, internalKey };
    writeFileSync(join(folder, "dev.json"), JSON.stringify({ ...dev, ...changes }));
    return folder;
  }

  function fileOf(t: TestContext, content: string): string {
    const path = join(temporaryFolder(cleanup(t)), "credential");
    writeFileSync(path, content);
    return path;
  }

  it("sends each kind of credential in the header it belongs in", async (t) => {
    const token = await service.logIn();
    const { secret: apiKey } = await service
      .client(ApiKeyService, { authorization: `Bearer ${token}` })
      .createApiKey({ name: "reader", permissions: ["auth.api_keys.read"] });
    for (const credential of [token, apiKey]) {
      const operator = operatorWith(t, { LATCHKEY_URL: service.url, LATCHKEY_CREDENTIAL: credential });
      const names = (await operator.lists(["key", "list"])).map(({ name }) => name);
      assert.ok(names.includes("reader"));
    }
    const internal = operatorWith(t, { LATCHKEY_URL: service.url, LATCHKEY_CREDENTIAL: service.internalKey });
    assert.deepEqual(
      (await internal.lists(["org", "list"])).map(({ name }) => name),
      ["acme"],
    );
  });

  it("has an internal key act for the organization that is named, by option before environment", async (t) => {
    const operator = operatorWith(t, {
      LATCHKEY_URL: service.url,
      LATCHKEY_CREDENTIAL: service.internalKey,
      LATCHKEY_ORGANIZATION: "019a20ce-4b1c-75aa-8887-32c29f795e32",
    });
    const bare = { env: { LATCHKEY_ORGANIZATION: service.organizationId } };
    assert.match(await operator.fails(["key", "list"]), /^ORGANIZATION_UNKNOWN: /);
    assert.equal((await operator.lists(["key", "list"], bare)).length > 0, true);
    const upper = service.organizationId.toUpperCase();
    assert.equal((await operator.lists(["key", "list", "--org", upper])).length > 0, true);
    // What is about the platform is about none.
    assert.equal((await operator.lists(["service-key", "list"])).length, 1);

    const none = operatorWith(t, { LATCHKEY_URL: service.url, LATCHKEY_CREDENTIAL: service.internalKey });
    assert.match(
      await none.fails(["role", "create", "x", "--permission", "none"]),
      /^ORGANIZATION_REQUIRED: .*--org/,
    );
  });

  it("takes the credential from a file or standard input before the environment", async (t) => {
    const operator = operatorWith(t, { LATCHKEY_URL: service.url, LATCHKEY_CREDENTIAL: mintKey("sk").text });
    assert.match(await operator.fails(["org", "list"]), /^SERVICE_KEY_INVALID: /);
    const path = fileOf(t, ` ${service.internalKey}\r\n\n`);
    assert.equal((await operator.lists(["org", "list", "--credential-file", path])).length, 1);
    const piped = ["org", "list", "--credential-file", "-"];
    assert.equal((await operator.lists(piped, { input: `${service.internalKey}\n` })).length, 1);
  });

  it("says what is wrong with a file of a credential, and not what it holds", async (t) => {
    const operator = operatorWith(t, { LATCHKEY_URL: service.url });
    for (const content of [
      "",
      "\n",
      "hunter2 hunter2\n",
      "hunter2\u0000",
      "hunter2\u00e9",
      "x".repeat(5000),
    ]) {
      const line = await operator.fails(["org", "list", "--credential-file", fileOf(t, content)]);
      assert.match(
        line,
        /^the credential in .* is empty, too long or holds characters that no credential has$/,
      );
      assert.ok(!line.includes("hunter2"));
    }
    const missing = join(temporaryFolder(cleanup(t)), "nothing");
    assert.match(
      await operator.fails(["org", "list", "--credential-file", missing]),
      /nothing cannot be read: ENOENT/,
    );
  });

  describe("that is given no credential", () => {
    it("acts with the internal key of dev.json, at its address, for its organization, and says so", async (t) => {
      const folder = devFolder(t);
      const operator = operatorWith(t, { LATCHKEY_DATA_DIR: folder });
      const command = operator.start(["key", "create", "dev", "--permission", "calls.read", "--json"]);
      assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.stderr);
      assert.equal(JSON.parse(command.stdout).apiKey.organizationId, service.organizationId);
      assert.equal(
        command.stderr,
        `latchkey: with the internal key of ${join(folder, "dev.json")}, at ${service.url}\n`,
      );
      // Also where that address is named.
      assert.equal((await operator.lists(["org", "list", "--url", service.url])).length, 1);
    });

    it("never shows the key of dev.json to another service", async (t) => {
      const operator = operatorWith(t, {
        LATCHKEY_DATA_DIR: devFolder(t, { url: "http://127.0.0.1:9" }),
        LATCHKEY_URL: service.url,
      });
      assert.match(
        await operator.fails(["org", "list"]),
        /^CREDENTIAL_MISSING: .*\(give it by LATCHKEY_CREDENTIAL or --credential-file\)$/,
      );
      const byOption = operatorWith(t, { LATCHKEY_DATA_DIR: devFolder(t, { url: "http://127.0.0.1:9" }) });
      assert.match(await byOption.fails(["org", "list", "--url", service.url]), /^CREDENTIAL_MISSING: /);
    });

    it("prefers every credential that is given to that of dev.json", async (t) => {
      const folder = devFolder(t);
      const given = {
        LATCHKEY_DATA_DIR: folder,
        LATCHKEY_URL: service.url,
        LATCHKEY_CREDENTIAL: mintKey("sk").text,
      };
      assert.match(await operatorWith(t, given).fails(["org", "list"]), /^SERVICE_KEY_INVALID: /);
    });

    it("says where dev.json is spoilt", async (t) => {
      const folder = temporaryFolder(cleanup(t));
      writeFileSync(join(folder, "dev.json"), "{}");
      const operator = operatorWith(t, { LATCHKEY_DATA_DIR: folder });
      assert.match(await operator.fails(["org", "list"]), /dev\.json does not hold what was written there/);
      mkdirSync(join(folder, "sub", "dev.json"), { recursive: true });
      const other = operatorWith(t, { LATCHKEY_DATA_DIR: join(folder, "sub") });
      assert.match(await other.fails(["org", "list"]), /dev\.json cannot be read: EISDIR/);
    });
  });

  it("trusts the authorities of --ca-file, and comes with a certificate where one is asked for", async (t) => {
    const [authority, clients] = [createAuthority("Servers"), createAuthority("Clients")];
    const [server, client] = [authority.issue(), clients.issue({ use: "clientAuth" })];
    const tls = await readTls({
      certificateFile: server.certificateFile,
      keyFile: server.keyFile,
      clientCaFile: clients.certificateFile,
      clientCertificates: "required",
    });
    const guarded = await startService({ beside: service, tls });
    cleanup(t).defer(() => guarded.stop());
    const env = {
      LATCHKEY_URL: guarded.url,
      LATCHKEY_CREDENTIAL: service.internalKey,
      LATCHKEY_CLIENT_CERT_FILE: client.certificateFile,
      LATCHKEY_CLIENT_KEY_FILE: client.keyFile,
    };
    const operator = operatorWith(t, env);
    const trusting = ["org", "list", "--ca-file", authority.certificateFile];
    assert.equal((await operator.lists(trusting)).length, 1);
    const { LATCHKEY_CA_FILE } = { LATCHKEY_CA_FILE: authority.certificateFile };
    assert.equal((await operator.lists(["org", "list"], { env: { LATCHKEY_CA_FILE } })).length, 1);

    assert.match(await operator.fails(["org", "list"]), /^the service did not answer: .*certificate/);
    const { LATCHKEY_URL, LATCHKEY_CREDENTIAL } = env;
    const bare = operatorWith(t, { LATCHKEY_URL, LATCHKEY_CREDENTIAL });
    assert.match(await bare.fails(trusting), /^the service did not answer: /);
    assert.match(
      await operator.fails(["org", "list", "--ca-file", "/nothing"]),
      /^\/nothing cannot be read: /,
    );
  });

  it("asks with it for `authenticate` and `explain` too, about headers that come from a file", async (t) => {
    const guarded = await startService({ beside: service, callers: "authenticated" });
    cleanup(t).defer(() => guarded.stop());
    const operator = operatorWith(t, { LATCHKEY_URL: guarded.url, LATCHKEY_CREDENTIAL: service.internalKey });
    const headers = fileOf(t, `Accept: */*\r\nX-API-Key: ${service.apiKey}\n`);
    for (const command of ["authenticate", "explain"]) {
      const shown = await operator.does([command, "-H", `@${headers}`, "--require", "calls.read"]);
      assert.match(field(shown, "principal") ?? "", /^api_key .* test$/);
      const piped = await operator.does([command, "-H", "@-"], { input: `X-API-Key: ${service.apiKey}` });
      assert.equal(field(piped, "organization"), `acme (${service.organizationId})`);
      assert.match(await operator.fails([command, "-H", "@/nothing"]), /^\/nothing cannot be read: /);
      const spoilt = await operator.fails([command, "-H", `@${fileOf(t, service.apiKey)}`]);
      assert.match(spoilt, /has no name before a colon$/);
    }
  });

  it("has no option that would put a secret where everybody on the machine can read it", async () => {
    const leaves = (command: Command): Command[] =>
      command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
    const options = leaves(await buildProgram()).flatMap((command) => command.options);
    const about = options.filter(({ flags }) => /secret|credential|token|password|api-key|hash/.test(flags));
    assert.deepEqual([...new Set(about.map(({ flags }) => flags))].sort(), [
      "--credential-file <file>",
      "--hmac-secret-file <file>",
      // It has no value: the password is asked for, or read.
      "--initial-password",
      "--password-file <file>",
    ]);
  });
});
