import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, it, type TestContext } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { mintKey } from "../../src/credentials/secret-key.ts";
import {
  CreateApiKeyRequestSchema,
  CreateApiKeyResponseSchema,
} from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { cleanup, freePort } from "../support/process.ts";
import { startService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { startFakePostgres } from "./fake-postgres.ts";
import { operatorOf, operatorWith } from "./operator.ts";

const ID = "019a20ce-4b1c-75aa-8887-32c29f795e32";

/** What goes wrong is told in one line, with what to do. */
describe("a command of the operators that fails", { concurrency: 3 }, () => {
  let service: TestService;
  before(async () => {
    service = await startService();
  });
  after(() => service.stop());

  it("says what the service says, by its reason, and what here helps", async (t) => {
    const operator = operatorOf(t, service);
    const create = ["key", "create", "x", "--permission"];
    const cases: [string[], RegExp][] = [
      [["key", "get", ID], /^NOT_FOUND: There is no such thing, or it is not yours\.$/],
      [[...create, "calls.raed"], /^PERMISSION_UNKNOWN: .*\(unknown: calls\.raed\)$/],
      [["key", "get", "mine"], /^REQUEST_INVALID: id: /],
      [[...create, "calls.read", "--expires", "2001-01-01"], /^REQUEST_INVALID: expire_time: /],
      [[...create, "calls.read", "--cidr", "10.0.0.1/8"], /^REQUEST_INVALID: allowed_cidrs\[0\]: /],
      [["service-key", "create", "test", "--permission", "auth.authenticate"], /^SERVICE_KEY_NAME_TAKEN: /],
    ];
    for (const [args, line] of cases) {
      assert.match(await operator.fails(args), line);
      // In the same words where a program reads the answer: it is on standard error.
      assert.match(await operator.fails([...args, "--json"]), line);
    }
  });

  it("says that the credential is refused, or may not, without repeating it", async (t) => {
    const unknown = mintKey("sk").text;
    assert.match(await operatorOf(t, service, unknown).fails(["org", "list"]), /^SERVICE_KEY_INVALID: /);
    const weak = operatorOf(t, service, service.apiKey);
    assert.match(
      await weak.fails(["key", "list"]),
      /^PERMISSION_DENIED: .*\(missing: auth\.api_keys\.read\)$/,
    );
    for (const credential of [unknown, service.apiKey]) {
      const command = operatorOf(t, service, credential).start(["org", "list"]);
      await command.ended();
      assert.ok(!(command.stdout + command.stderr).includes(credential));
    }
  });

  it("says that nobody is there, that somebody else is, or that nothing is said", async (t) => {
    const at = (url: string) =>
      operatorWith(t, { LATCHKEY_URL: url, LATCHKEY_CREDENTIAL: service.internalKey });
    const down = await at(`http://127.0.0.1:${await freePort()}`).fails(["org", "list"]);
    assert.match(
      down,
      /^the service did not answer: .*ECONNREFUSED.*; is it running\? LATCHKEY_URL or --url says where$/,
    );
    const other = await at(`${service.url}/elsewhere`).fails(["org", "list"]);
    assert.match(
      other,
      /^the service did not answer: there is no such method; is it a Latchkey of this version\?/,
    );
    const { port } = await startFakePostgres(cleanup(t), { isMute: true });
    assert.match(
      await at(`http://127.0.0.1:${port}`).fails(["org", "list"]),
      /^the service did not answer: /,
    );
  });

  it("says what was typed wrong, what may have been meant, and where help is", async (t) => {
    const operator = operatorOf(t, service);
    const cases: [string[], RegExp][] = [
      [["kye"], /^unknown command 'kye' \(Did you mean key\?\); see latchkey --help$/],
      [["key", "crate"], /^unknown command 'crate' \(Did you mean create\?\); see latchkey key --help$/],
      [
        ["key", "create", "x", "--permision", "a"],
        /^unknown option '--permision' \(Did you mean --permission\?\); /,
      ],
      [
        ["key", "create", "x"],
        /^required option '--permission <name>' not specified; see latchkey key create --help$/,
      ],
      [["key", "create", "--permission", "a"], /^missing required argument 'name'; /],
      [["key", "create", "two", "names", "--permission", "a"], /^too many arguments/],
      [["key", "rotate", ID], /^required option '--overlap <time>'/],
      [["key", "rotate", ID, "--overlap", "a day"], /is invalid\. Write a number and s, m, h, d or w: 24h\./],
      [["key", "update", ID], /^nothing to change was given; see latchkey key update --help$/],
      [["role", "update", ID], /^nothing to change was given; /],
      [["service-key", "update", ID], /^nothing to change was given; /],
      [["service-key", "create", "x"], /^required option '--permission <name>'/],
      [["key", "list", "--state", "lost"], /Allowed choices are active, expired, revoked\./],
      [["key", "list", "--limit", "0"], /Write a whole number, 1 or more\./],
      [["key", "list", "--org", "acme"], /It is no UUID: its id, a UUID\./],
      [["org", "list", "--url", "localhost"], /It is not such a URL: an http or https URL/],
      [["key", "create", "x", "--permission", "a", "--expires", "2027-02-30"], /Write 90d, 2027-01-31, /],
      [["key", "create", "x", "--permission", "a", "--rate-limit", "5"], /as 100\/60s, or none\./],
      [
        ["key", "create", "x", "--permission", "a", "--metadata", "team"],
        /Write name=value, or none alone\./,
      ],
      [["role", "create", "x", "--permission", "a,none"], /none stands alone\./],
    ];
    for (const [args, line] of cases) {
      assert.match(await operator.mistypes(args), line, args.join(" "));
    }
    const group = operator.start(["key"]);
    assert.equal((await group.ended()).code, 2);
    assert.match(group.stderr, /^Usage: latchkey key /);
    const help = operator.start(["key", "create", "--help"]);
    assert.equal((await help.ended()).code, 0);
    assert.match(help.stdout, /For example:\n {2}latchkey key create /);
  });

  it("does not confuse a decision with a command that was typed wrong", async (t) => {
    for (const command of ["authenticate", "explain"]) {
      const mistyped = operatorOf(t, service).start([command, "--requrie", "calls.read"]);
      assert.equal((await mistyped.ended()).code, 1);
      const refused = operatorOf(t, service).start([command, "-H", "X-API-Key: ak_x"]);
      assert.equal((await refused.ended()).code, 2, refused.stderr);
      // Not even where nobody reads it.
      const unread = operatorOf(t, service).start([command, "-H", "X-API-Key: ak_x"], { readsLines: 0 });
      await unread.ended();
      assert.equal(unread.stdout, "code 2\n");
    }
  });

  it("ends at once on Ctrl-C, without a word", async (t) => {
    const { port } = await startFakePostgres(cleanup(t), { isMute: true });
    const operator = operatorWith(t, {
      LATCHKEY_URL: `http://127.0.0.1:${port}`,
      LATCHKEY_CREDENTIAL: service.internalKey,
      NODE_DEBUG: "http",
    });
    const command = operator.start(["org", "list"]);
    await until("it has sent its request", () => command.stderr.includes("outgoing message end"));
    command.kill("SIGINT");
    assert.deepEqual(await command.ended(5_000), { code: null, signal: "SIGINT" });
    assert.equal(command.stdout, "");
    assert.doesNotMatch(command.stderr, /latchkey: |^ +at /m);
  });

  describe("because the service is away for a moment", () => {
    it("is tried once more if it reads, or creates: with the same idempotency key", async (t) => {
      const fake = await startFlaky(t, 1);
      const created = await fake.operator.asks(["key", "create", "x", "--permission", "calls.read"]);
      assert.equal(created.secret, "told");
      const keys = fake.requests.map(
        ({ body }) => fromBinary(CreateApiKeyRequestSchema, body).idempotencyKey,
      );
      assert.equal(keys.length, 2);
      assert.match(keys[0] ?? "", /^[0-9a-f-]{36}$/);
      assert.equal(keys[1], keys[0]);

      const other = await startFlaky(t, 1);
      await other.operator.asks(["key", "create", "x", "--permission", "calls.read"]);
      const [{ body = new Uint8Array() } = {}] = other.requests;
      assert.notEqual(fromBinary(CreateApiKeyRequestSchema, body).idempotencyKey, keys[0]);

      const reading = await startFlaky(t, 1);
      await reading.operator.does(["key", "get", ID]);
      assert.equal(reading.requests.length, 2);
    });

    it("is not tried again and again", async (t) => {
      const fake = await startFlaky(t, 9);
      assert.match(
        await fake.operator.fails(["key", "get", ID]),
        /^the service did not answer: .*is it running\?/,
      );
      assert.equal(fake.requests.length, 2);
    });

    it("is not tried again if it might happen twice", async (t) => {
      const fake = await startFlaky(t, 1);
      await fake.operator.fails(["key", "rotate", ID, "--overlap", "1h"]);
      await fake.operator.does(["key", "cancel-rotation", ID]);
      assert.deepEqual(
        fake.requests.map(({ method }) => method),
        ["RotateApiKey", "CancelRotation"],
      );
    });
  });

  /** A service that is away for the first calls, and then answers every one alike. */
  async function startFlaky(t: TestContext, failures: number) {
    const requests: { method: string; body: Buffer }[] = [];
    const server = createServer(async (request, response) => {
      const method = request.url?.split("/").at(-1) ?? "";
      requests.push({ method, body: await bodyOf(request) });
      if (requests.length <= failures) {
        response.writeHead(503, { "content-type": "application/json" });
        response.end(JSON.stringify({ code: "unavailable", message: "away" }));
        return;
      }
      response.writeHead(200, { "content-type": "application/proto" });
      response.end(
        method === "CreateApiKey"
          ? toBinary(CreateApiKeyResponseSchema, create(CreateApiKeyResponseSchema, { secret: "told" }))
          : "",
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanup(t).defer(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const operator = operatorWith(t, { LATCHKEY_URL: url, LATCHKEY_CREDENTIAL: service.internalKey });
    return { requests, operator };
  }
});

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  return Buffer.concat(await request.toArray());
}
