import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Code, createClient } from "@connectrpc/connect";
import type { Core } from "../../src/app.ts";
import { createAuthenticate, freshProofs } from "../../src/authenticate/authenticate.ts";
import type { Question } from "../../src/authenticate/decision.ts";
import { createProve } from "../../src/authenticate/prove.ts";
import { createLiveState } from "../../src/authenticate/read-live-state.ts";
import { createTokenVerifier } from "../../src/credentials/access-token/verify-token.ts";
import { createImportedKeys } from "../../src/credentials/imported-key/imported-keys.ts";
import { createForeignTexts } from "../../src/credentials/imported-key/key-format.ts";
import { createSchemes } from "../../src/credentials/schemes.ts";
import { loadSigningKeys } from "../../src/credentials/signing-key/signing-keys.ts";
import { AuthError, REASONS } from "../../src/errors.ts";
import { addOrganization } from "../access/cast.ts";
import { delegate, exchange, tokenOf } from "../credentials/token-grants.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  ISSUER,
  startService,
  type TestService,
  TokenService,
  transportTo,
  WIRES,
} from "../support/service.ts";
import { Breaker, CANARY, FAULTS } from "./breaking.ts";

const breaker = new Breaker();
let service: TestService;
let replica: TestService;
let token: string;
/** Tokens that keys got: of an API key, of a service for itself, for one organization, and on somebody's behalf. */
let keyTokens: { readonly kind: string; readonly text: string }[];

before(async () => {
  service = await startService();
  token = await service.logIn();
  const { apiKey, internalKey, organizationId, admin } = service;
  const caller = { "x-internal-key": internalKey };
  const delegated = async (value: { userId?: string }, more = {}) =>
    (await delegate(service, caller, value, more)).accessToken;
  keyTokens = [
    { kind: "token of an API key", text: await tokenOf(service, apiKey) },
    { kind: "token of a service", text: await delegated({}) },
    { kind: "token of a service for one", text: await delegated({}, { organizationId }) },
    { kind: "token on somebody's behalf", text: await delegated({ userId: admin.id }) },
  ];
  // What is remembered needs no database, which is there to be broken.
  replica = await startService({
    beside: service,
    callers: "authenticated",
    memoryBytes: 0,
    wrapCore: breakCore,
  });
});
after(async () => {
  await replica?.stop();
  await service.stop();
});

function breakCore(core: Core): Core {
  return {
    ...core,
    storage: breaker.wrap(core.storage, ["verify", "fork"]),
    keyHasher: breaker.wrap(core.keyHasher),
    passwordHasher: breaker.wrap(core.passwordHasher),
  };
}

/** The decision, with a point to break at every part that it is made of. */
async function breakableAuthenticate(
  knowsSigningKeys: boolean,
): Promise<ReturnType<typeof createAuthenticate>> {
  const { storage, seal, keyHasher } = service.core;
  const liveState = breaker.wrap(createLiveState(breaker.wrap(storage, ["verify"])));
  const foreignTexts = createForeignTexts(["ak", "sk"]);
  const log = { warn: (...told: unknown[]) => assert.fail(String(told)), info: () => {} };
  const signingKeys = await loadSigningKeys({ storage, seal, algorithm: "ES256", days: 0, log });
  const knownKey = (kid: string) => (knowsSigningKeys ? signingKeys.find(kid) : undefined);
  const parts = { storage, liveState, keyHasher: breaker.wrap(keyHasher), seal: breaker.wrap(seal) };
  const schemes = createSchemes({
    ...parts,
    importedKeys: breaker.wrap(createImportedKeys({ ...parts, foreignTexts, log }), ["find"]),
    tokenVerifier: breaker.wrap(createTokenVerifier({ issuer: ISSUER, knownKey })),
    apiKeyPrefixes: new Set(["ak"]),
    defaultAudience: ISSUER,
  });
  return createAuthenticate({
    proofs: freshProofs(createProve(schemes.map((scheme) => breaker.wrap(scheme)))),
    reach: async () => {},
    usageMeter: breaker.wrap({ count() {} }),
    rateLimiter: breaker.wrap({ take() {} }),
  });
}

interface Kind {
  readonly kind: string;
  readonly header: readonly [name: string, value: string];
  readonly organizationId: string;
  /** Of a replica that was started after the token was issued, or before its key was made. */
  readonly knowsSigningKeys: boolean;
}

/** Every way through the decision. */
function kinds(): Kind[] {
  const common = { organizationId: "", knowsSigningKeys: true };
  const { apiKey, internalKey, organizationId } = service;
  return [
    { ...common, kind: "API key", header: ["X-API-Key", apiKey] },
    { ...common, kind: "API key as bearer", header: ["Authorization", `Bearer ${apiKey}`] },
    { ...common, kind: "internal key", header: ["X-Internal-Key", internalKey] },
    { ...common, kind: "internal key for one", header: ["X-Internal-Key", internalKey], organizationId },
    { ...common, kind: "token", header: ["Authorization", `Bearer ${token}`] },
    {
      ...common,
      kind: "token, its key not known",
      header: ["Authorization", `Bearer ${token}`],
      knowsSigningKeys: false,
    },
    ...keyTokens.flatMap(({ kind, text }) =>
      [true, false].map((knowsSigningKeys): Kind => {
        const header = ["Authorization", `Bearer ${text}`] as const;
        return {
          ...common,
          kind: `${kind}, signing key known: ${knowsSigningKeys}`,
          header,
          knowsSigningKeys,
        };
      }),
    ),
  ];
}

const questionOf = ({ header: [name, value], organizationId }: Kind): Question => ({
  headers: [{ name, value }],
  requiredPermissions: ["calls.read"],
  anyPermissions: ["calls.read", "calls.write"],
  organizationId,
  callerOrganizationId: "",
  audience: "",
  minRevision: "",
  clientAddress: "192.0.2.1",
});

/** Asks once for each point and fault. @returns the outcomes of those calls. */
async function breakEverywhere(ask: () => Promise<string>): Promise<{ unbroken: string; broken: string[] }> {
  breaker.breakAt(0, () => undefined);
  const unbroken = await ask();
  const { points } = breaker;
  assert.ok(points > 0, "there is nothing to break");
  const broken: string[] = [];
  for (let point = 1; point <= points; point++) {
    for (const fault of FAULTS) {
      breaker.breakAt(point, fault);
      broken.push(await ask());
      assert.ok(breaker.broke, `point ${point} of ${points} was not reached`);
    }
  }
  breaker.breakAt(0, () => undefined);
  return { unbroken, broken };
}

const asOutcome = async (decide: () => unknown): Promise<string> => {
  try {
    await decide();
    return "allowed";
  } catch (error) {
    return error instanceof AuthError ? error.reason : `a fault came through: ${error}`;
  }
};

test("whatever fails and wherever, a good credential is neither allowed nor refused", async () => {
  for (const kind of kinds()) {
    const authenticate = await breakableAuthenticate(kind.knowsSigningKeys);
    const { unbroken, broken } = await breakEverywhere(() => asOutcome(() => authenticate(questionOf(kind))));
    assert.equal(unbroken, "allowed", kind.kind);
    assert.deepEqual([...new Set(broken)], ["UNAVAILABLE"], kind.kind);
  }
});

test("whatever fails and wherever, a bad credential is not called bad", async () => {
  const disableAll = (time: string) =>
    query(
      service.connection,
      `with a as (update api_keys set revoke_time = ${time}), b as (update service_keys set revoke_time = ${time})
       update sessions set revoke_time = ${time}`,
    );
  await disableAll("now()");
  try {
    for (const kind of kinds()) {
      const authenticate = await breakableAuthenticate(kind.knowsSigningKeys);
      const { unbroken, broken } = await breakEverywhere(() =>
        asOutcome(() => authenticate(questionOf(kind))),
      );
      assert.match(unbroken, /^(API_KEY|SERVICE_KEY|TOKEN)_REVOKED$/, kind.kind);
      assert.deepEqual([...new Set(broken)], ["UNAVAILABLE"], kind.kind);
    }
  } finally {
    await disableAll("null");
  }
});

test("the cause of a fault is kept for the log, and is no part of what is told", async () => {
  const authenticate = await breakableAuthenticate(true);
  for (const kind of kinds()) {
    breaker.breakAt(1, () => new Error(CANARY));
    const error: unknown = await Promise.resolve(authenticate(questionOf(kind))).catch(
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof AuthError);
    assert.ok(error.cause instanceof Error && error.cause.message === CANARY);
    assert.equal(error.message, REASONS.UNAVAILABLE.message);
    assert.deepEqual(error.metadata, {});
  }
});

test("a kind of credential that no scheme takes is a fault, not an allowance", async () => {
  const authenticate = createAuthenticate({
    proofs: freshProofs(createProve([])),
    reach: async () => {},
    usageMeter: { count() {} },
    rateLimiter: { take() {} },
  });
  for (const kind of kinds()) {
    assert.equal(await asOutcome(() => authenticate(questionOf(kind))), "UNAVAILABLE");
  }
});

/** The parts of the service itself break: what a caller with a good credential of its own is answered. */
const asked = (header: readonly [string, string], organizationId: string) =>
  asReason(
    replica
      .client(AuthenticationService, { "x-internal-key": service.internalKey })
      .authenticate({ headers: [{ name: header[0], value: header[1] }], organizationId }),
  );

const asReason = async (call: Promise<unknown>) => (await reasonOf(call)) ?? "allowed";

test("a service whose parts fail answers `unavailable`, whether it fails at the subject or at the caller", async () => {
  for (const { kind, header, organizationId } of kinds()) {
    const { unbroken, broken } = await breakEverywhere(() => asked(header, organizationId));
    assert.equal(unbroken, "allowed", kind);
    assert.deepEqual([...new Set(broken)], ["UNAVAILABLE"], kind);
  }
});

test("a service whose parts fail does not call who asks unauthenticated, in any method", async () => {
  for (const headers of [{ "x-internal-key": service.internalKey }, { authorization: `Bearer ${token}` }]) {
    const calls = [
      () => replica.client(AuthenticationService, headers).whoAmI({}),
      () => replica.client(ApiKeyService, headers).listApiKeys({ organizationId: service.organizationId }),
    ];
    for (const call of calls) {
      breaker.breakAt(0, () => undefined);
      await call();
      for (const fault of FAULTS) {
        breaker.breakAt(1, fault);
        await refusedWith("UNAVAILABLE", call());
      }
    }
  }
  breaker.breakAt(0, () => undefined);
});

test("a login that fails within is no wrong password, and issues nothing", async () => {
  const sessions = async () =>
    (await query<{ count: string }>(service.connection, "select count(*) from sessions"))[0]?.count;
  const logIn = async (password?: string) => {
    // What broke was counted as a failure before it did, and would delay those that come after it.
    await query(service.connection, "delete from login_counters");
    return await asReason(replica.logIn(service.admin.email, password));
  };
  const { unbroken, broken } = await breakEverywhere(() => logIn());
  assert.equal(unbroken, "allowed");
  assert.deepEqual([...new Set(broken)].sort(), ["INTERNAL", "UNAVAILABLE"]);
  // A wrong password is not called wrong either, where it could not be checked.
  const before = await sessions();
  const wrong = await breakEverywhere(() => logIn("wrong"));
  assert.equal(wrong.unbroken, "LOGIN_FAILED");
  assert.deepEqual([...new Set(wrong.broken)].sort(), ["INTERNAL", "UNAVAILABLE"]);
  assert.equal(await sessions(), before);
});

test("a grant that fails within issues nothing, and refuses nobody", async () => {
  const sessions = async () =>
    (await query<{ count: string }>(service.connection, "select count(*) from sessions"))[0]?.count;
  const { apiKey, internalKey, admin } = service;
  const caller = { "x-internal-key": internalKey };
  const password = { email: admin.email, password: admin.password };
  const { refreshToken } = await service
    .client(TokenService)
    .issueToken({ grant: { case: "password", value: password } });
  const refresh = () =>
    replica.client(TokenService).issueToken({ grant: { case: "refreshToken", value: { refreshToken } } });
  const grants = [
    () => exchange(replica, { apiKey }),
    () => delegate(replica, caller, {}),
    () => delegate(replica, caller, { userId: admin.id }),
    refresh,
  ];
  for (const grant of grants) {
    breaker.breakAt(0, () => undefined);
    if (grant !== refresh) {
      await grant();
    }
    const before = await sessions();
    // Before the unit of work in which the token is made.
    for (const point of [1, 2]) {
      for (const fault of FAULTS) {
        breaker.breakAt(point, fault);
        const reason = await asReason(grant());
        assert.ok(breaker.broke, `${grant}: point ${point}`);
        assert.ok(reason === "INTERNAL" || reason === "UNAVAILABLE", `${grant}: ${reason}`);
      }
    }
    assert.equal(await sessions(), before);
  }
  breaker.breakAt(0, () => undefined);
  // None of that has used it up.
  await refresh();
});

test("a token of a service for one organization is good for none where that is gone, rather than for all", async () => {
  const organizationId = await addOrganization(service.core);
  const caller = { "x-internal-key": service.internalKey };
  const { accessToken } = await delegate(service, caller, {}, { organizationId });
  const ask = () => asked(["Authorization", `Bearer ${accessToken}`], "");
  assert.equal(await ask(), "allowed");
  // Deleting it ends its sessions too: here that has failed to.
  await query(
    service.connection,
    "update organizations set delete_time = now(), suspend_time = now(), name_key = null where id = $1",
    [organizationId],
  );
  assert.equal(await ask(), "ORGANIZATION_UNKNOWN");
});

test("a session that could not be looked up is not said to have ended", async () => {
  const target = { case: "token", value: token } as const;
  for (const fault of FAULTS) {
    breaker.breakAt(1, fault);
    const reason = await asReason(replica.client(TokenService).revokeToken({ target }));
    assert.ok(reason === "INTERNAL" || reason === "UNAVAILABLE", reason);
  }
  breaker.breakAt(0, () => undefined);
  assert.equal(await asked(["Authorization", `Bearer ${token}`], ""), "allowed");
});

for (const { protocol, http } of WIRES) {
  test(`nothing of the inside is told over ${protocol} and HTTP/${http}`, async () => {
    const seen: string[] = [];
    const transport = transportTo(replica.url, protocol, http, { "x-internal-key": service.internalKey });
    const client = createClient(AuthenticationService, transport);
    breaker.breakAt(1, () => Object.assign(new Error(CANARY), { detail: CANARY, query: CANARY }));
    const error = await refusedWith(
      "UNAVAILABLE",
      client.authenticate(
        { headers: [{ name: "X-API-Key", value: service.apiKey }] },
        {
          onHeader: (headers) => seen.push(...[...headers].flat()),
          onTrailer: (trailers) => seen.push(...[...trailers].flat()),
        },
      ),
    );
    seen.push(error.message, JSON.stringify(error.details), ...[...error.metadata].flat());
    assert.equal(error.rawMessage, REASONS.UNAVAILABLE.message);
    assert.equal(error.code, Code.Unavailable);
    assert.ok(!seen.join("\n").includes(CANARY), seen.join("\n"));
  });
}

test("the answer to a fault is the same to the byte, whatever failed", async () => {
  const answerOf = async (point: number, fault: () => unknown) => {
    breaker.breakAt(point, fault);
    const response = await fetch(`${replica.url}/latchkey.v1.AuthenticationService/Authenticate`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-internal-key": service.internalKey,
        "x-request-id": "same",
      },
      body: JSON.stringify({ headers: [{ name: "X-API-Key", value: service.apiKey }] }),
    });
    const headers = [...response.headers].filter(([name]) => name !== "date");
    return { status: response.status, headers, body: await response.text() };
  };
  const first = await answerOf(1, () => new Error(CANARY));
  assert.equal(first.status, 503);
  assert.ok(!JSON.stringify(first).includes(CANARY));
  for (let point = 1; point <= 6; point++) {
    for (const fault of FAULTS) {
      assert.deepEqual(await answerOf(point, fault), first, `point ${point}`);
    }
  }
  assert.ok(
    replica.logged.some((line) => line.includes(CANARY)),
    "the log says what failed",
  );
});
