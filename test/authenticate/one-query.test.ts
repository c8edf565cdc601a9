import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { base64url, decodeProtectedHeader } from "jose";
import { v4 as uuidv4 } from "uuid";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { delegate, tokenOf } from "../credentials/token-grants.ts";
import { statementsOf } from "../storage/statements.ts";
import { query } from "../support/cluster.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";

let service: TestService;
let token: string;
before(async () => {
  service = await startService();
  token = await service.logIn();
});
after(() => service.stop());

/** Asks about one header, and sees that this takes no more statements, and is refused for this reason only. */
async function costs(
  most: { statements: number; reason: string | undefined },
  name: string,
  value: string,
  more: object = {},
  asked: TestService = service,
): Promise<void> {
  let reason: string | undefined;
  const statements = await statementsOf(async () => {
    const call = asked.client(AuthenticationService).authenticate({ headers: [{ name, value }], ...more });
    reason = await reasonOf(call);
  });
  assert.equal(reason, most.reason, name);
  assert.ok(statements.length <= most.statements, statements.join("\n"));
}

const bearer = (text: string) => `Bearer ${text}`;

test("a good credential takes one statement at most, of whichever kind it is", async () => {
  const { organizationId, apiKey, internalKey } = service;
  const once = { statements: 1, reason: undefined };
  await costs(once, "X-API-Key", apiKey);
  await costs(once, "Authorization", bearer(apiKey));
  await costs(once, "Authorization", bearer(token));
  await costs(once, "X-Internal-Key", internalKey);
  await costs(once, "X-Internal-Key", internalKey, { organizationId });
  await costs(once, "X-API-Key", apiKey, { organizationId, requiredPermissions: ["calls.read"] });
});

test("a token that a key got takes one statement too, with all that it stands on", async () => {
  const { organizationId, internalKey, admin } = service;
  const once = { statements: 1, reason: undefined };
  const caller = { "x-internal-key": internalKey };
  const tokens = [
    await tokenOf(service, service.apiKey),
    (await delegate(service, caller, {})).accessToken,
    (await delegate(service, caller, { userId: admin.id })).accessToken,
  ];
  for (const text of tokens) {
    await costs(once, "Authorization", bearer(text));
    await costs(once, "Authorization", bearer(text), { organizationId, requiredPermissions: ["calls.read"] });
    const other = { statements: 1, reason: "ORGANIZATION_MISMATCH" };
    const unknown = text === tokens[1] ? { ...other, reason: "ORGANIZATION_UNKNOWN" } : other;
    await costs(unknown, "Authorization", bearer(text), { organizationId: uuidv4() });
    const [head = "", body = ""] = text.split(".");
    const forged = `${head}.${body}.${base64url.encode(randomBytes(64))}`;
    await costs({ statements: 0, reason: "TOKEN_INVALID" }, "Authorization", bearer(forged));
  }
});

test("a good credential that is not good for what is asked takes no more", async () => {
  const { apiKey, internalKey } = service;
  const other = { organizationId: uuidv4() };
  const denied = { statements: 1, reason: "PERMISSION_DENIED" };
  await costs(denied, "X-API-Key", apiKey, { requiredPermissions: ["auth.users.write"] });
  await costs({ statements: 1, reason: "ORGANIZATION_MISMATCH" }, "X-API-Key", apiKey, other);
  await costs(
    {
      statements: 1,
      reason: "ORGANIZATION_UNKNOWN",
    },
    "X-Internal-Key",
    internalKey,
    other,
  );
});

test("a well-formed key that nobody made takes one statement at most", async () => {
  const once = (reason: string) => ({ statements: 1, reason });
  await costs(once("API_KEY_INVALID"), "X-API-Key", mintKey("ak").text);
  await costs(once("SERVICE_KEY_INVALID"), "X-Internal-Key", mintKey("sk").text);
});

test("a text that is no key costs the database nothing", async () => {
  for (const text of ["", "x", service.apiKey.slice(0, -1), `${service.apiKey}x`, token]) {
    await costs({ statements: 0, reason: "API_KEY_INVALID" }, "X-API-Key", text);
  }
  // What may be a key of another system takes one statement, which says whether any looks so.
  await costs({ statements: 1, reason: "API_KEY_INVALID" }, "X-API-Key", mintKey("old").text);
  for (const text of ["", "x", service.internalKey.slice(0, -1), service.apiKey]) {
    await costs({ statements: 0, reason: "SERVICE_KEY_INVALID" }, "X-Internal-Key", text);
  }
});

test("a forged token that names a key of ours costs the database nothing", async () => {
  const [head = "", body = "", signature = ""] = token.split(".");
  const payload = JSON.parse(Buffer.from(body, "base64url").toString());
  const forge = (claims: object) =>
    [head, base64url.encode(JSON.stringify({ ...payload, ...claims })), signature].join(".");
  const forged = [
    forge({ sub: uuidv4() }),
    forge({ sid: uuidv4() }),
    forge({ role: "owner " }),
    `${head}.${body}.${base64url.encode(randomBytes(64))}`,
    `${head}.${body}.`,
    `${head}.${body}`,
    "eyJ.e30.x",
    "not a token".replaceAll(" ", "-"),
  ];
  for (const text of forged) {
    await costs({ statements: 0, reason: "TOKEN_INVALID" }, "Authorization", bearer(text));
  }
});

test("a token for another audience costs the database nothing", async () => {
  const asked = { audience: "billing" };
  await costs(
    {
      statements: 0,
      reason: "TOKEN_AUDIENCE_MISMATCH",
    },
    "Authorization",
    bearer(token),
    asked,
  );
});

test("a token that names a key which is not known here takes one statement at most", async () => {
  const [, body, signature] = token.split(".");
  const kid = randomBytes(32).toString("base64url");
  const head = base64url.encode(JSON.stringify({ ...decodeProtectedHeader(token), kid }));
  const forged = bearer(`${head}.${body}.${signature}`);
  await costs({ statements: 1, reason: "TOKEN_INVALID" }, "Authorization", forged);
});

test("headers that hold no credential, or two, cost the database nothing", async () => {
  const authenticate = async (...headers: { name: string; value: string }[]) =>
    await statementsOf(async () => {
      await service
        .client(AuthenticationService)
        .authenticate({ headers })
        .catch(() => {});
    });
  const apiKey = { name: "X-API-Key", value: service.apiKey };
  assert.deepEqual(await authenticate(), []);
  assert.deepEqual(await authenticate({ name: "Authorization", value: "Basic dTpw" }), []);
  assert.deepEqual(await authenticate(apiKey, apiKey), []);
  assert.deepEqual(await authenticate(apiKey, { name: "Authorization", value: bearer(token) }), []);
  assert.deepEqual(await authenticate(apiKey, { name: "X_API_Key", value: "x" }), []);
});

test("where callers have to show who they are, that takes one statement more at most", async () => {
  const replica = await startService({ beside: service, callers: "authenticated" });
  try {
    const client = replica.client(AuthenticationService, { "x-internal-key": service.internalKey });
    const statements = await statementsOf(() =>
      client.authenticate({ headers: [{ name: "X-API-Key", value: service.apiKey }] }),
    );
    assert.ok(statements.length <= 2, statements.join("\n"));
    await costs(
      {
        statements: 0,
        reason: "CALLER_REJECTED",
      },
      "X-API-Key",
      service.apiKey,
      {},
      replica,
    );
  } finally {
    await replica.stop();
  }
});

test("verification writes nothing: it works on a database that cannot be written to", async () => {
  const { database } = service.connection;
  await query(service.connection, `alter database "${database}" set default_transaction_read_only = on`);
  const replica = await startService({ beside: service });
  try {
    await assert.rejects(replica.logIn(), "the database is still written to");
    for (const [name, value] of [
      ["X-API-Key", service.apiKey],
      ["X-Internal-Key", service.internalKey],
      ["Authorization", bearer(token)],
    ] as const) {
      await costs({ statements: 1, reason: undefined }, name, value, {}, replica);
    }
  } finally {
    await replica.stop();
    await query(
      service.connection,
      `begin read write; alter database "${database}" reset default_transaction_read_only; commit`,
    );
  }
});
