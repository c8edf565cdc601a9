import assert from "node:assert/strict";
import { after, before, describe, it, type TestContext } from "node:test";
import { decodeJwt } from "jose";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { cleanup, freePort, latchkey, type Running, refusal, refusals } from "../support/process.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";
import { startFakePostgres } from "./fake-postgres.ts";

/** What it ends with where the credential is refused. */
const REFUSED = 2;

describe("latchkey authenticate", { concurrency: 3 }, () => {
  let service: TestService;
  let guarded: TestService;
  before(async () => {
    service = await startService();
    guarded = await startService({ beside: service, callers: "authenticated" });
  });
  after(async () => {
    await guarded.stop();
    await service.stop();
  });

  it("tells of an API key what it stands for", async (t) => {
    const { id = "" } = await keyOf(service);
    for (const header of [`X-API-Key: ${service.apiKey}`, `authorization:Bearer ${service.apiKey}`]) {
      const told = await answer(t, ["-H", header]);
      assert.deepEqual(Object.keys(told), ["principal", "organization", "permissions", "credential"]);
      assert.equal(told["principal"], `api_key ${id} test`);
      assert.equal(told["organization"], `acme (${service.organizationId})`);
      assert.match(told["permissions"] ?? "", /^calls\.click_to_call calls\.hangup .*calls\.write$/);
      assert.equal(told["credential"], id);
    }
  });

  it("tells of an access token whom it stands for", async (t) => {
    const { id, email } = service.admin;
    const token = await service.logIn();
    const told = await answer(t, ["-H", `Authorization: Bearer ${token}`]);
    assert.equal(told["principal"], `user ${id} Administrator ${email}`);
    assert.equal(told["role"], "owner");
    assert.equal(told["organization"], `acme (${service.organizationId})`);
    assert.match(told["permissions"] ?? "", /platform\.organizations\.write/);
    assert.equal(told["credential"], decodeJwt(token)["sid"]);
  });

  it("tells of an internal key which service it stands for, and for whom it acts", async (t) => {
    const told = await answer(t, ["-H", `X-Internal-Key: ${service.internalKey}`]);
    assert.match(told["principal"] ?? "", /^service [0-9a-f-]{36} test$/);
    assert.equal(told["organization"], "all of them");

    const byHeader = [
      "-H",
      `X-Internal-Key: ${service.internalKey}`,
      "-H",
      `X-Org-Id: ${service.organizationId}`,
    ];
    const byOption = [
      "-H",
      `X-Internal-Key: ${service.internalKey}`,
      "--organization",
      service.organizationId,
    ];
    for (const options of [byHeader, byOption]) {
      assert.equal((await answer(t, options))["organization"], `acme (${service.organizationId})`);
    }
  });

  it("prints the whole answer as JSON, and a refusal too", async (t) => {
    const { id } = await keyOf(service);
    const good = ask(t, ["--json", "-H", `X-API-Key: ${service.apiKey}`]);
    assert.equal((await good.ended()).code, 0, good.stderr);
    const { principal, organization, permissions, credential, stripHeaders } = JSON.parse(good.stdout);
    assert.deepEqual(principal, { id, type: "PRINCIPAL_TYPE_API_KEY", displayName: "test" });
    assert.equal(organization.id, service.organizationId);
    assert.ok(permissions.includes("calls.read"));
    assert.equal(credential.type, "CREDENTIAL_TYPE_API_KEY");
    assert.ok(stripHeaders.includes("x-api-key"));

    const refused = ask(t, [
      "--json",
      "--require",
      "platform.users.write",
      "-H",
      `X-API-Key: ${service.apiKey}`,
    ]);
    assert.equal((await refused.ended()).code, REFUSED, refused.stderr);
    assert.deepEqual(Object.keys(JSON.parse(refused.stdout)), ["code", "reason", "message", "metadata"]);
    assert.equal(JSON.parse(refused.stdout).reason, "PERMISSION_DENIED");
    assert.deepEqual(JSON.parse(refused.stdout).metadata, { missing: "platform.users.write" });
  });

  it("asks for permissions, for the organization and for the audience", async (t) => {
    const key = ["-H", `X-API-Key: ${service.apiKey}`];
    const held = ["--require", "calls.read", "--require", "calls.write"];
    await answer(t, [...key, ...held, "--organization", service.organizationId]);
    const required = await refused(t, [...key, "--require", "calls.read", "--require", "auth.users.read"]);
    assert.match(required, /^refused +PERMISSION_DENIED: .*\nmissing +auth\.users\.read\n$/);
    const elsewhere = await refused(t, [...key, "--organization", "019a20ce-4b1c-75aa-8887-32c29f795e32"]);
    assert.match(elsewhere, /^refused +ORGANIZATION_MISMATCH: /);
    const token = ["-H", `Authorization: Bearer ${await service.logIn()}`];
    assert.match(
      await refused(t, [...token, "--audience", "billing"]),
      /^refused +TOKEN_AUDIENCE_MISMATCH: /,
    );
  });

  it("passes on the address of the client", async (t) => {
    const token = await service.logIn();
    const client = service.client(ApiKeyService, { authorization: `Bearer ${token}` });
    const bound = { name: "bound", permissions: ["calls.read"], allowedCidrs: ["203.0.113.0/24"] };
    const { secret } = await client.createApiKey(bound);
    const key = ["-H", `X-API-Key: ${secret}`];
    await answer(t, [...key, "--client-address", "203.0.113.7"]);
    assert.match(await refused(t, [...key, "--client-address", "198.51.100.7"]), /CLIENT_ADDRESS_DENIED/);
  });

  it("ends with 2 and the reason where a credential is refused", async (t) => {
    const cases: [string[], string][] = [
      [["Accept: */*", "Authorization: Basic dTpw"], "CREDENTIAL_MISSING"],
      [[`X-API-Key: ${mintKey("ak").text}`], "API_KEY_INVALID"],
      [["X-API-Key:"], "API_KEY_INVALID"],
      [[`X-API-Key: ${service.apiKey}`, `x-api-key: ${service.apiKey}`], "CREDENTIALS_AMBIGUOUS"],
    ];
    for (const [headers, reason] of cases) {
      const output = await refused(
        t,
        headers.flatMap((header) => ["-H", header]),
      );
      assert.match(output, new RegExp(`^refused +${reason}: `));
      assert.ok(!output.includes(service.apiKey), output);
    }
  });

  it("ends with 1 where the caller may not ask, and asks with LATCHKEY_CALLER_KEY", async (t) => {
    const asking = ["-H", `X-API-Key: ${service.apiKey}`];
    const to = (key?: string) =>
      ask(t, asking, { LATCHKEY_URL: guarded.url, ...(key !== undefined && { LATCHKEY_CALLER_KEY: key }) });
    assert.match(await refusal(to()), /^CALLER_REJECTED: /);
    const unknown = mintKey("sk").text;
    const rejected = to(unknown);
    assert.match(await refusal(rejected), /^CALLER_REJECTED: /);
    assert.ok(!(rejected.stdout + rejected.stderr).includes(unknown));
    const admitted = to(service.internalKey);
    assert.equal((await admitted.ended()).code, 0, admitted.stderr);
    assert.match(admitted.stdout, /^principal +api_key /);
  });

  it("ends with 1 and one line where nobody could tell", async (t) => {
    const key = ["-H", `X-API-Key: ${service.apiKey}`];
    const port = await freePort();
    const down = ask(t, key, { LATCHKEY_URL: `http://127.0.0.1:${port}` });
    assert.match(await refusal(down), /^the service did not answer: .*ECONNREFUSED/);
    assert.equal(down.stdout, "");
    // Something else listens there.
    const other = ask(t, key, { LATCHKEY_URL: `${service.url}/elsewhere` });
    assert.match(await refusal(other), /^the service did not answer: /);
    assert.equal(other.stdout, "");
  });

  it("does not wait for ever for a service that says nothing", async (t) => {
    const { port } = await startFakePostgres(cleanup(t), { isMute: true });
    const mute = ask(t, ["-H", `X-API-Key: ${service.apiKey}`], { LATCHKEY_URL: `http://127.0.0.1:${port}` });
    assert.match(await refusal(mute, 15_000), /^the service did not answer: /);
  });

  it("refuses a header that has no name, and does not repeat what may be a secret", async (t) => {
    for (const header of [service.apiKey, `:${service.apiKey}`]) {
      const command = ask(t, ["-H", header]);
      assert.match(await refusal(command), /^-H takes 'Name: value'/);
      // From the second underscore on it is secret.
      const [, , secret = ""] = header.split("_");
      assert.ok(!command.stderr.includes(secret.slice(0, 3)), command.stderr);
    }
  });

  it("says what is wrong with its settings, all at once, and not their values", async (t) => {
    const command = ask(t, [], {
      LATCHKEY_URL: "ftp://hunter2",
      LATCHKEY_CALLER_KEY: "",
      LATCHKEY_KEY: "hunter2",
    });
    const lines = await refusals(command);
    assert.deepEqual(lines.map((line) => line.split(" ", 1)[0]).sort(), [
      "LATCHKEY_CALLER_KEY",
      "LATCHKEY_KEY",
      "LATCHKEY_URL",
    ]);
    assert.ok(!command.stderr.includes("hunter2"));

    const broken = ask(t, [], { LATCHKEY_CALLER_KEY: `${service.internalKey}\nX-Other: 1` });
    const line = await refusal(broken);
    assert.ok(!line.includes(service.internalKey), line);
  });

  function ask(t: TestContext, options: readonly string[], env: Record<string, string> = {}): Running {
    return latchkey(cleanup(t), ["authenticate", ...options], { env: { LATCHKEY_URL: service.url, ...env } });
  }

  /** The rows of a good answer. */
  async function answer(t: TestContext, options: readonly string[]): Promise<Record<string, string>> {
    const command = ask(t, options);
    assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.stdout + command.stderr);
    assert.equal(command.stderr, "");
    const rows = command.stdout.trimEnd().split("\n");
    return Object.fromEntries(rows.map((row) => [row.slice(0, 14).trimEnd(), row.slice(14)]));
  }

  async function refused(t: TestContext, options: readonly string[]): Promise<string> {
    const command = ask(t, options);
    assert.deepEqual(await command.ended(), { code: REFUSED, signal: null }, command.stdout + command.stderr);
    assert.equal(command.stderr, "");
    return command.stdout;
  }
});

/** The API key that every test service has. */
async function keyOf({ client, internalKey, organizationId }: TestService) {
  const { apiKeys } = await client(ApiKeyService, { "x-internal-key": internalKey }).listApiKeys({
    organizationId,
  });
  return apiKeys.find(({ name }) => name === "test") ?? assert.fail("there is no such key");
}
