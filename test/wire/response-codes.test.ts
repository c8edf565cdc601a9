import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, describe, test } from "node:test";
import type { Core } from "../../src/app.ts";
import { REASONS, type Reason } from "../../src/errors.ts";
import { ApiKeyService, ServiceKeyService, startService, type TestService } from "../support/service.ts";
import { openDatabasePrint } from "./database-print.ts";
import { callHttp1, callHttp2, type Field, type RawAnswer, reasonIn, verdictOf } from "./raw-call.ts";

/** Set by a test: a part of the service that fails from now on, and with what. */
let broken:
  | { readonly part: "fork" | "verify" | "hash key" | "hash password"; readonly error: Error }
  | undefined;
afterEach(() => {
  broken = undefined;
});

// What is remembered would be answered where the database is broken.
const service = await startService({ wrapCore: breakable, memoryBytes: 0 });
after(() => service.stop());
const print = await openDatabasePrint(service.connection);
after(() => print.end());

const bearer: Field[] = [["authorization", `Bearer ${await service.logIn()}`]];
const apiKey: Field[] = [["x-api-key", service.apiKey]];
const nobody = randomUUID();
const internalKeyId = await serviceKeyId();
const imported = {
  organizationId: service.organizationId,
  ownerId: service.admin.id,
  format: { prefix: "old_", length: 40, alphabet: "KEY_ALPHABET_HEX" },
  hashing: { algorithm: "KEY_HASH_ALGORITHM_SHA256" },
  mode: "IMPORT_MODE_ALL_OR_NOTHING",
  keys: [{ name: "x", permissions: ["calls.read"], hash: Buffer.alloc(32, 1).toString("base64") }],
};

/** The table of the API that this service answers for, with one call for each of its statuses. */
const CALLS: readonly {
  readonly status: number;
  readonly verdict: Reason | "accepted";
  readonly method: string;
  readonly body: object;
  readonly fields: readonly Field[];
}[] = [
  { status: 200, verdict: "accepted", method: "AuthenticationService/WhoAmI", body: {}, fields: apiKey },
  {
    status: 400,
    verdict: "REQUEST_INVALID",
    method: "ApiKeyService/ListApiKeys",
    body: { pageSize: 300 },
    fields: bearer,
  },
  {
    status: 400,
    verdict: "CREDENTIALS_AMBIGUOUS",
    method: "AuthenticationService/WhoAmI",
    body: {},
    fields: [...bearer, ...apiKey],
  },
  {
    status: 401,
    verdict: "CREDENTIAL_MISSING",
    method: "ApiKeyService/ListApiKeys",
    body: {},
    fields: [],
  },
  {
    status: 401,
    verdict: "API_KEY_INVALID",
    method: "AuthenticationService/WhoAmI",
    body: {},
    fields: [["x-api-key", "ak_wrong"]],
  },
  {
    status: 401,
    verdict: "LOGIN_FAILED",
    method: "TokenService/IssueToken",
    body: { password: { email: service.admin.email, password: "wrong" } },
    fields: [],
  },
  { status: 403, verdict: "PERMISSION_DENIED", method: "UserService/ListUsers", body: {}, fields: apiKey },
  {
    status: 403,
    verdict: "ORGANIZATION_MISMATCH",
    method: "AuthenticationService/Authenticate",
    body: { headers: [{ name: "X-API-Key", value: service.apiKey }], organizationId: nobody },
    fields: [],
  },
  {
    status: 404,
    verdict: "NOT_FOUND",
    method: "ApiKeyService/GetApiKey",
    body: { id: nobody },
    fields: bearer,
  },
  {
    status: 409,
    verdict: "ORGANIZATION_NAME_TAKEN",
    method: "OrganizationService/CreateOrganization",
    body: { name: "ACME" },
    fields: bearer,
  },
  {
    status: 200,
    verdict: "accepted",
    method: "AuthenticationService/Explain",
    body: { request: { headers: [{ name: "X-API-Key", value: "ak_wrong" }] } },
    fields: bearer,
  },
  {
    status: 400,
    verdict: "KEY_FORMAT_INVALID",
    method: "ApiKeyService/ImportApiKeys",
    body: { ...imported, format: { ...imported.format, prefix: "ak_" } },
    fields: bearer,
  },
  {
    status: 400,
    verdict: "ROTATION_NOT_IN_PROGRESS",
    method: "ServiceKeyService/FinishServiceKeyRotation",
    body: { id: internalKeyId },
    fields: bearer,
  },
  {
    status: 401,
    verdict: "API_KEY_INVALID",
    method: "ApiKeyService/RevokeOwnApiKey",
    body: { apiKey: "ak_wrong" },
    fields: [],
  },
  {
    status: 401,
    verdict: "CREDENTIAL_MISSING",
    method: "ApiKeyService/ImportApiKeys",
    body: imported,
    fields: [],
  },
  {
    status: 403,
    verdict: "PERMISSION_DENIED",
    method: "ApiKeyService/ImportApiKeys",
    body: imported,
    fields: apiKey,
  },
  {
    status: 404,
    verdict: "NOT_FOUND",
    method: "ServiceKeyService/GetServiceKey",
    body: { id: nobody },
    fields: bearer,
  },
  {
    status: 409,
    verdict: "ROLE_NAME_TAKEN",
    method: "RoleService/CreateRole",
    body: { name: "owner" },
    fields: bearer,
  },
];

describe("the statuses that the REST API promises", () => {
  for (const { status, verdict, method, body, fields } of CALLS) {
    test(`${status} for ${verdict} from ${method}`, async () => {
      const call = [service.port, `/latchkey.v1.${method}`, fields, JSON.stringify(body)] as const;
      for (const answer of [await callHttp1(...call), await callHttp2(...call)]) {
        assert.deepEqual([answer.status, verdictOf(answer)], [status, verdict]);
      }
    });
  }

  test("429 for RATE_LIMITED from every method that a key is used for, and when to come again", async () => {
    const { secret } = await service
      .client(ApiKeyService, { authorization: bearer[0]?.[1] ?? "" })
      .createApiKey({
        name: "seldom",
        permissions: ["auth.api_keys.read"],
        rateLimit: { requests: 1, windowSeconds: 86_400 },
      });
    const field: Field = ["x-api-key", secret];
    const calls = [
      { method: "AuthenticationService/WhoAmI", body: {}, fields: [field] },
      { method: "AuthenticationService/WhoAmI", body: {}, fields: [field] },
      { method: "ApiKeyService/ListApiKeys", body: {}, fields: [field] },
      { method: "AuthenticationService/Authenticate", body: { headers: [header([field])] }, fields: [] },
    ];
    const answers: RawAnswer[] = [];
    for (const { method, body, fields } of calls) {
      answers.push(await callHttp1(service.port, `/latchkey.v1.${method}`, fields, JSON.stringify(body)));
    }
    assert.deepEqual(
      answers.map((answer) => `${answer.status} ${verdictOf(answer)}`),
      ["200 accepted", ...Array(3).fill("429 RATE_LIMITED")],
    );
    for (const { head } of answers.slice(1)) {
      const seconds = Number(/^retry-after: (\d+)$/m.exec(head)?.[1]);
      assert.ok(seconds >= 1 && seconds <= 86_400, head);
    }
  });

  test("429 for PASSWORD_HASHING_BUSY where more logins come than can be checked", async () => {
    const login = { password: { email: "nobody@acme.test", password: "wrong" } };
    const flood = Array.from({ length: 120 }, () =>
      callHttp1(service.port, "/latchkey.v1.TokenService/IssueToken", [], JSON.stringify(login)),
    );
    const answers = await Promise.all(flood);
    const kinds = new Set(answers.map((answer) => `${answer.status} ${verdictOf(answer)}`));
    assert.deepEqual([...kinds].sort(), ["401 LOGIN_FAILED", "429 PASSWORD_HASHING_BUSY"]);
    assert.match(await service.logIn(), /^eyJ/, "the flood leaves nothing behind");
  });
});

describe("a fault of Latchkey's own", () => {
  const canary = `canary ${randomUUID()} of /srv/latchkey`;
  const unforeseen = () => new TypeError(canary);
  const databaseGone = () => Object.assign(new Error(canary), { code: "57P01" });
  const create = { name: "new", permissions: ["calls.read"] };
  const user = { email: "new@acme.test", role: "viewer", password: "correct horse battery" };

  /** What breaks where, and what the caller is told. */
  const faults = [
    { part: "fork", error: unforeseen, method: "ApiKeyService/ListApiKeys", body: {}, reason: "INTERNAL" },
    {
      part: "fork",
      error: unforeseen,
      method: "ApiKeyService/CreateApiKey",
      body: create,
      reason: "INTERNAL",
    },
    {
      part: "fork",
      error: databaseGone,
      method: "ApiKeyService/ListApiKeys",
      body: {},
      reason: "UNAVAILABLE",
    },
    {
      part: "fork",
      error: databaseGone,
      method: "ApiKeyService/CreateApiKey",
      body: create,
      reason: "UNAVAILABLE",
    },
    {
      part: "hash key",
      error: unforeseen,
      method: "ApiKeyService/CreateApiKey",
      body: create,
      reason: "INTERNAL",
    },
    {
      part: "hash password",
      error: unforeseen,
      method: "UserService/CreateUser",
      body: user,
      reason: "INTERNAL",
    },
    {
      part: "hash key",
      error: unforeseen,
      method: "ApiKeyService/CreateApiKey",
      body: { ...create, idempotencyKey: "x" },
      reason: "INTERNAL",
    },
    {
      part: "hash key",
      error: unforeseen,
      method: "ServiceKeyService/RotateServiceKey",
      body: { id: internalKeyId, overlap: "60s" },
      reason: "INTERNAL",
    },
    {
      part: "hash key",
      error: unforeseen,
      method: "ApiKeyService/ImportApiKeys",
      body: imported,
      reason: "INTERNAL",
    },
    {
      part: "fork",
      error: databaseGone,
      method: "ApiKeyService/ImportApiKeys",
      body: imported,
      reason: "UNAVAILABLE",
    },
    {
      part: "fork",
      error: unforeseen,
      method: "RoleService/CreateRole",
      body: { name: "x", idempotencyKey: "x" },
      reason: "INTERNAL",
    },
    {
      part: "verify",
      error: databaseGone,
      method: "ApiKeyService/RevokeOwnApiKey",
      body: { apiKey: service.apiKey },
      reason: "UNAVAILABLE",
    },
    // Whatever breaks while a credential is decided about: it is no decision.
    {
      part: "verify",
      error: unforeseen,
      method: "AuthenticationService/Explain",
      body: { request: { headers: [header(apiKey)] } },
      reason: "UNAVAILABLE",
    },
    {
      part: "verify",
      error: unforeseen,
      method: "ApiKeyService/ImportApiKeys",
      body: imported,
      reason: "UNAVAILABLE",
    },
    {
      part: "verify",
      error: unforeseen,
      method: "AuthenticationService/WhoAmI",
      body: {},
      reason: "UNAVAILABLE",
    },
    {
      part: "verify",
      error: databaseGone,
      method: "AuthenticationService/WhoAmI",
      body: {},
      reason: "UNAVAILABLE",
    },
    {
      part: "verify",
      error: unforeseen,
      method: "ApiKeyService/ListApiKeys",
      body: {},
      reason: "UNAVAILABLE",
    },
  ] as const;

  for (const { part, error, method, body, reason } of faults) {
    const status = reason === "INTERNAL" ? 500 : 503;
    test(`${status} for ${reason} from ${method}, where "${part}" throws a ${error().name}: nothing internal is told`, async () => {
      broken = { part, error: error() };
      const logged = service.logged.length;
      const path = `/latchkey.v1.${method}`;
      const untouched = await print.take();
      const answer = await callHttp1(service.port, path, bearer, JSON.stringify(body));
      assertFault(answer, status, reason);
      assert.deepEqual(await print.take(), untouched, "nothing is half written");
      // All of it goes to the log instead.
      const lines = service.logged.slice(logged).filter((line) => JSON.parse(line).level >= 40);
      assert.equal(lines.length, 1);
      assert.ok(lines[0]?.includes(canary) && lines[0].includes(`latchkey.v1.${method}`), lines[0]);
    });
  }

  test("503 for every call while the database is out of reach, and 200 as soon as it is back", async () => {
    const line = await cuttableLine(service);
    const replica = await startService({
      beside: { ...service, connection: { ...service.connection, host: line.folder } },
    });
    try {
      const calls = [
        { method: "AuthenticationService/WhoAmI", body: {}, fields: apiKey },
        { method: "AuthenticationService/Authenticate", body: { headers: [header(apiKey)] }, fields: [] },
        { method: "ApiKeyService/ListApiKeys", body: {}, fields: bearer },
        { method: "OrganizationService/CreateOrganization", body: { name: "Umbrella" }, fields: bearer },
        {
          method: "TokenService/IssueToken",
          body: { password: { email: service.admin.email, password: service.admin.password } },
          fields: [],
        },
      ];
      const answers = async () =>
        await Promise.all(
          calls.map(({ method, body, fields }) =>
            callHttp1(replica.port, `/latchkey.v1.${method}`, fields, JSON.stringify(body)),
          ),
        );
      await line.cut();
      for (const answer of await answers()) {
        assertFault(answer, 503, "UNAVAILABLE");
      }
      await line.restore();
      assert.deepEqual(
        (await answers()).map(verdictOf),
        calls.map(() => "accepted"),
      );
    } finally {
      await replica.stop();
      await line.end();
    }
  });
});

async function serviceKeyId(): Promise<string> {
  const { serviceKey } = await service
    .client(ServiceKeyService, { "x-internal-key": service.internalKey })
    .createServiceKey({ name: "of-one-secret" });
  return serviceKey?.id ?? assert.fail();
}

/** The body is the reason's own message and its details, to the letter. */
function assertFault({ status, body, head }: RawAnswer, expected: number, reason: Reason): void {
  assert.equal(status, expected);
  const { details, ...rest } = JSON.parse(body.toString());
  assert.deepEqual(rest, { code: REASONS[reason].code, message: REASONS[reason].message });
  assert.deepEqual(
    details.map(({ type, debug }: { type: string; debug: object }) => ({ type, debug })),
    [
      { type: "google.rpc.ErrorInfo", debug: { reason, domain: "latchkey" } },
      { type: "google.rpc.RequestInfo", debug: { requestId: "test" } },
    ],
  );
  assert.equal(reasonIn(body.toString()), reason);
  const names = head.split("\r\n").map((line) => line.split(":", 1)[0]);
  assert.deepEqual(names.slice(1).sort(), [
    "connection",
    "content-length",
    "content-type",
    "date",
    "x-request-id",
  ]);
}

function header([field]: readonly Field[]) {
  return { name: field?.[0], value: field?.[1] };
}

function breakable(core: Core): Core {
  const guard =
    <Parameters extends unknown[], Result>(part: string, work: (...parameters: Parameters) => Result) =>
    (...parameters: Parameters): Result => {
      if (broken?.part === part) {
        throw broken.error;
      }
      return work(...parameters);
    };
  const { storage, keyHasher, passwordHasher } = core;
  return {
    ...core,
    storage: {
      ...storage,
      fork: guard("fork", storage.fork),
      verify: async (name, sql, values) => {
        if (broken?.part === "verify") {
          throw broken.error;
        }
        return await storage.verify(name, sql, values);
      },
    },
    keyHasher: { ...keyHasher, hash: guard("hash key", keyHasher.hash) },
    passwordHasher: { ...passwordHasher, hash: guard("hash password", passwordHasher.hash) },
  };
}

/** A way to the database that can be cut: a socket folder whose socket passes everything on. */
async function cuttableLine({ connection }: TestService) {
  const folder = await mkdtemp(join(tmpdir(), "lk-line-"));
  const name = ".s.PGSQL.5432";
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(join(connection.host ?? "", name));
    for (const [end, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(end);
      end.on("error", () => {});
      end.once("close", () => {
        open.delete(end);
        other.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  const listen = async () => {
    server.listen(join(folder, name));
    await once(server, "listening");
  };
  const cut = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of open) {
      socket.destroy();
    }
    await closed;
  };
  await listen();
  return {
    folder,
    cut,
    restore: listen,
    async end() {
      await cut();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
