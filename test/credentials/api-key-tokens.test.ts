import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { v4 as uuidv4 } from "uuid";
import { CredentialType, PrincipalType } from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { apiKey, bearer, type Headers, internalKey } from "../access/actors.ts";
import { addApiKey, addOrganization, addRole, addServiceKey, addUser } from "../access/cast.ts";
import { importKey, keyOf, oldKey, untilRehashed } from "../imported-keys/import.ts";
import { plainRights } from "../permissions/plain-permissions.ts";
import { query } from "../support/cluster.ts";
import { forgeToken, readParts, signingKeyOf } from "../support/forge-token.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { ApiKeyService, ISSUER, startService, type TestService, TokenService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { holdRows } from "./row-lock.ts";
import { decide, exchange, refusalOf, tokenOf } from "./token-grants.ts";

// A token that is got with an API key is that key, for a while, and never more.

const HOUR = 3_600;

let service: TestService;
/** Another replica, which has to know at its next call. */
let other: TestService;
let admin: Headers;
before(async () => {
  service = await startService();
  other = await startService({ beside: service });
  admin = bearer(await service.logIn());
});
after(async () => {
  await other.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

type NewKey = Partial<Parameters<typeof addApiKey>[1]>;

const newKey = (more: NewKey = {}) =>
  addApiKey(service.core, {
    organizationId: service.organizationId,
    owner: { userId: service.admin.id },
    permissions: ["calls.read", "calls.write"],
    ...more,
  });

const asAdmin = () => service.client(ApiKeyService, admin);
const secondsLeft = (time: Date) => (time.getTime() - Date.now()) / 1_000;

test("the token stands for the key, for an hour, and can't be refreshed", async () => {
  const key = await newKey();
  const issued = await exchange(service, { apiKey: key.text });
  assert.deepEqual([issued.tokenType, issued.refreshToken, issued.user], ["Bearer", "", undefined]);
  const answer = await decide(other, bearer(issued.accessToken));
  assert.deepEqual(answer.principal, { ...answer.principal, id: key.id, type: PrincipalType.API_KEY });
  assert.equal(answer.organization?.id, service.organizationId);
  assert.deepEqual(answer.permissions, ["calls.read", "calls.write"]);
  assert.equal(answer.credential?.type, CredentialType.ACCESS_TOKEN);
  assert.equal(answer.delegatedBy, undefined);
  const { payload } = readParts(issued.accessToken);
  const { sub, aud, client_id, kind, act, role, org, sid, iat, exp } = payload;
  assert.deepEqual(
    { sub, aud, client_id, kind, act, role, org, sid, lasts: Number(exp) - Number(iat) },
    {
      sub: key.id,
      aud: ISSUER,
      client_id: key.id,
      kind: "api_key",
      act: undefined,
      role: undefined,
      org: service.organizationId,
      sid: answer.credential?.id,
      lasts: HOUR,
    },
  );
  assert.deepEqual(
    [issued.expireTime, answer.credential?.expireTime].map((time) => time && Number(time.seconds)),
    [exp, exp],
  );
});

const NAMES = ["calls.hold", "calls.read", "calls.write"];
const TEXTS = [...NAMES, "calls.*", "*.read", "*"];

test("whatever it was narrowed to and whatever the key and its owner come to hold, it may do what all of them may", async () => {
  const organizationId = await addOrganization(service.core);
  const roleId = await addRole(service.core, { organizationId, name: "owns", permissions: ["*"] });
  const password = { hash: "none" };
  const { id: userId } = await addUser(service.core, { organizationId, role: "owns", password });
  const catalogue = {
    organization: (
      await run<{ name: string }>("select name from permissions where scope = 'organization'")
    ).map(({ name }) => name),
    platform: [],
  };
  const lists = fc.subarray(TEXTS, { minLength: 1 });
  await fc.assert(
    fc.asyncProperty(lists, fc.subarray(TEXTS), lists, lists, async (granted, named, later, role) => {
      await run("update roles set permissions = $2 where id = $1", roleId, ["*"]);
      const key = await newKey({ organizationId, owner: { userId }, permissions: granted });
      const token = await tokenOf(service, key.text, { permissions: named }).catch(() => undefined);
      const before = plainRights(granted, "api-key", catalogue);
      if (token === undefined) {
        // Only what exceeds the key is refused, as it would be for a key that it made.
        const isWithin = (text: string) => granted.includes(text) || granted.includes("*");
        assert.ok(!named.every(isWithin), `${named} of ${granted}`);
        return;
      }
      const all = (of: readonly string[]) => plainRights(of, "api-key", catalogue);
      const wanted = named.length === 0 ? new Set(catalogue.organization) : all(named);
      const rights = async () => new Set((await decide(other, bearer(token))).permissions);
      assert.deepEqual(await rights(), new Set([...before.intersection(wanted)].sort()));
      await run("update api_keys set permissions = $2 where id = $1", key.id, later);
      await run("update roles set permissions = $2 where id = $1", roleId, role);
      const held = all(later).intersection(plainRights(role, "role", catalogue));
      assert.deepEqual(await rights(), new Set([...held.intersection(wanted)].sort()));
    }),
    { numRuns: 60 },
  );
});

test("a token is asked for with no more than the key's own, and with what there is", async () => {
  const { text } = await newKey({ permissions: ["calls.read", "auth.users.read"] });
  const ask = (...permissions: string[]) => exchange(service, { apiKey: text, permissions });
  await refusedWith("PERMISSION_NOT_HELD", ask("calls.read", "calls.write"));
  await refusedWith("PERMISSION_NOT_HELD", ask("calls.*"));
  await refusedWith("PERMISSION_UNKNOWN", ask("calls.raed"));
  await refusedWith("PERMISSION_UNKNOWN", ask("platform.users.read"));
  assert.deepEqual((await decide(service, bearer((await ask("auth.users.read")).accessToken))).permissions, [
    "auth.users.read",
  ]);
});

describe("the token ends on every replica, at its next call, with", () => {
  const cases: Record<string, (made: Made) => Promise<[reason: string, asked?: object]>> = {
    "the revocation of the key": async ({ key }) => {
      await asAdmin().revokeApiKey({ id: key.id });
      return ["API_KEY_REVOKED"];
    },
    "the revocation of the key by whoever holds it": async ({ key }) => {
      await service.client(ApiKeyService).revokeOwnApiKey({ apiKey: key.text });
      return ["API_KEY_REVOKED"];
    },
    "the end of the key": async ({ key }) => {
      await run("update api_keys set expire_time = now() where id = $1", key.id);
      return ["API_KEY_EXPIRED"];
    },
    "the end of the secret that was presented, in a rotation that is finished": async ({ key }) => {
      await asAdmin().rotateApiKey({ id: key.id, overlap: { seconds: 60n } });
      await asAdmin().finishRotation({ id: key.id });
      return ["API_KEY_ROTATED"];
    },
    "the slot of that secret, which the next rotation takes": async ({ key }) => {
      await asAdmin().rotateApiKey({ id: key.id, overlap: {} });
      await asAdmin().rotateApiKey({ id: key.id, overlap: {} });
      return ["API_KEY_ROTATED"];
    },
    "an owner who is disabled": async ({ owner, organizationId }) => {
      await run("update memberships set disable_time = now() where user_id = $1", owner);
      assert.ok(organizationId);
      return ["API_KEY_CREATOR_INACTIVE"];
    },
    "an owner who has left": async ({ owner }) => {
      await run("update memberships set remove_time = now() where user_id = $1", owner);
      return ["API_KEY_CREATOR_INACTIVE"];
    },
    "the suspension of the organization": async ({ organizationId }) => {
      await run("update organizations set suspend_time = now() where id = $1", organizationId);
      return ["ORGANIZATION_SUSPENDED"];
    },
    "the revocation of the token": async ({ token }) => {
      await service.client(TokenService).revokeToken({ target: { case: "token", value: token } });
      return ["TOKEN_REVOKED"];
    },
    "its own end": async ({ token }) => {
      await run("update sessions set expire_time = now() where id = $1", readParts(token).payload["sid"]);
      return ["TOKEN_EXPIRED"];
    },
    "the withdrawal of the key that signed it": async ({ token }) => {
      const { kid } = readParts(token).header;
      await run("update signing_keys set revoke_time = now() where kid = $1", kid);
      const reason = await refusalOf(other, bearer(token));
      await run("update signing_keys set revoke_time = null where kid = $1", kid);
      assert.equal(reason, "TOKEN_REVOKED");
      await run("update sessions set revoke_time = now()  where id = $1", readParts(token).payload["sid"]);
      return ["TOKEN_REVOKED"];
    },
    "addresses that the key is bound to": async ({ key }) => {
      await run("update api_keys set allowed_cidrs = '{192.0.2.0/24}' where id = $1", key.id);
      return ["CLIENT_ADDRESS_DENIED", { clientAddress: "198.51.100.1" }];
    },
  };

  interface Made {
    readonly organizationId: string;
    readonly owner: string;
    readonly key: { readonly id: string; readonly text: string };
    readonly token: string;
  }

  for (const [what, end] of Object.entries(cases)) {
    test(what, async () => {
      const isOwn = /owner|organization/.test(what);
      const organizationId = isOwn ? await addOrganization(service.core) : service.organizationId;
      const password = { hash: "none" };
      const owner = isOwn
        ? (await addUser(service.core, { organizationId, role: "owner", password })).id
        : service.admin.id;
      const key = await newKey({ organizationId, owner: { userId: owner } });
      const token = await tokenOf(service, key.text);
      assert.equal(await refusalOf(other, bearer(token)), undefined);
      const [reason, asked] = await end({ organizationId, owner, key, token });
      assert.equal(await refusalOf(other, bearer(token), asked), reason);
      assert.equal(await refusalOf(service, bearer(token), asked), reason);
    });
  }

  test("a rotation that is taken back, for the new secret, and not for the old one", async () => {
    const key = await newKey();
    const old = await tokenOf(service, key.text);
    const { secret } = await asAdmin().rotateApiKey({ id: key.id, overlap: { seconds: 60n } });
    const token = await tokenOf(service, secret);
    assert.equal(await refusalOf(other, bearer(token)), undefined);
    await asAdmin().cancelRotation({ id: key.id });
    assert.equal(await refusalOf(other, bearer(token)), "API_KEY_ROTATED");
    assert.equal(await refusalOf(other, bearer(old)), undefined);
  });

  test("the internal key that its API key stands on", async () => {
    const parent = await addServiceKey(service.core, { permissions: ["calls.read"] });
    const key = await newKey({ owner: { serviceKeyId: parent.id } });
    const token = await tokenOf(service, key.text);
    assert.deepEqual((await decide(other, bearer(token))).permissions, ["calls.read"]);
    await run("update service_keys set revoke_time = now() where id = $1", parent.id);
    assert.equal(await refusalOf(other, bearer(token)), "API_KEY_CREATOR_INACTIVE");
  });
});

test("the token ends no later than it was asked to, than the key, and than the secret that was presented", async () => {
  const endOf = async (key: { text: string }, lifetime?: { seconds: bigint; nanos?: number }) => {
    const issued = await exchange(service, { apiKey: key.text, ...(lifetime && { lifetime }) });
    const { exp } = readParts(issued.accessToken).payload;
    return new Date(Number(exp) * 1_000);
  };
  const key = await newKey();
  assert.ok(secondsLeft(await endOf(key, { seconds: 60n })) <= 60);
  assert.ok(secondsLeft(await endOf(key)) > HOUR - 60);
  const ends = new Date(Date.now() + 90_500);
  const ending = await newKey({ expireTime: ends });
  const end = await endOf(ending);
  assert.ok(end <= ends && ends.getTime() - end.getTime() < 1_000);
  const { apiKey: rotated } = await asAdmin().rotateApiKey({ id: key.id, overlap: { seconds: 30n } });
  const [, slot] = rotated?.slots ?? [];
  assert.ok(slot?.expireTime && (await endOf(key)) <= timestampDate(slot.expireTime));
  for (const lifetime of [
    { seconds: 0n },
    { seconds: -5n },
    { seconds: 3_601n },
    { seconds: 3_600n, nanos: 1 },
    { seconds: 5n, nanos: -1 },
    { seconds: 9_000_000_000_000n },
  ]) {
    await refusedWith("REQUEST_INVALID", exchange(service, { apiKey: key.text, lifetime }));
  }
});

test("a key in its last second gets no token that has ended already", async () => {
  const key = await newKey();
  await run(
    "update api_keys set expire_time = date_trunc('second', now()) + interval '3 seconds' where id = $1",
    key.id,
  );
  let issued = 0;
  await until("the key has ended", async () => {
    const answer = await exchange(service, { apiKey: key.text }).catch((error: unknown) => error);
    if (answer instanceof Error) {
      assert.equal(await reasonOf(Promise.reject(answer)), "API_KEY_EXPIRED");
      return true;
    }
    const { iat, exp } = readParts((answer as { accessToken: string }).accessToken).payload;
    assert.ok(Number(exp) > Number(iat));
    issued++;
    return false;
  });
  assert.ok(issued > 0);
});

test("a token for an audience passes where that one is asked for, and nowhere else", async () => {
  const { text } = await newKey({ permissions: ["auth.api_keys.read"] });
  const token = bearer(await tokenOf(service, text, { audience: "https://billing.test" }));
  const plain = bearer(await tokenOf(service, text));
  const asked = { audience: "https://billing.test" };
  assert.equal(await refusalOf(other, token, asked), undefined);
  assert.equal(await refusalOf(other, token), "TOKEN_AUDIENCE_MISMATCH");
  assert.equal(
    await refusalOf(other, token, { audience: "https://billing.test/" }),
    "TOKEN_AUDIENCE_MISMATCH",
  );
  assert.equal(await refusalOf(other, plain, asked), "TOKEN_AUDIENCE_MISMATCH");
  assert.equal(await refusalOf(other, plain, { audience: ISSUER }), undefined);
  await refusedWith("TOKEN_AUDIENCE_MISMATCH", service.client(ApiKeyService, token).listApiKeys({}));
  await service.client(ApiKeyService, plain).listApiKeys({});
  for (const audience of ["a b", "a\u0000", "ü", "a".repeat(256)]) {
    await refusedWith("REQUEST_INVALID", exchange(service, { apiKey: text, audience }));
  }
});

test("the key's addresses bind whoever gets the token, and whoever uses it", async () => {
  const away = await newKey({ allowedCidrs: ["192.0.2.0/24"] });
  await refusedWith("CLIENT_ADDRESS_DENIED", exchange(service, { apiKey: away.text }));
  const here = await newKey({ allowedCidrs: ["127.0.0.0/8", "192.0.2.0/24"] });
  const token = bearer(await tokenOf(service, here.text));
  assert.equal(await refusalOf(other, token), "CLIENT_ADDRESS_REQUIRED");
  assert.equal(await refusalOf(other, token, { clientAddress: "192.0.2.7" }), undefined);
  assert.equal(await refusalOf(other, token, { clientAddress: "198.51.100.7" }), "CLIENT_ADDRESS_DENIED");
});

test("a key and all its tokens share one rate limit", async () => {
  const key = await newKey({ rateLimit: { requests: 7, windowSeconds: 86_400 } });
  const tokens: Headers[] = [];
  const uses = [
    async () => void tokens.push(bearer(await tokenOf(service, key.text))),
    async () => void (await decide(service, apiKey(key.text))),
    async () => void (await decide(service, tokens[0] ?? {})),
    async () => void (await decide(service, tokens.at(-1) ?? {})),
  ];
  let allowed = 0;
  // A replica allows only so many before it has told the others.
  await until("all uses were allowed", async () => {
    const reason = await reasonOf(uses[allowed % uses.length]?.() ?? Promise.reject());
    assert.ok(reason === undefined || reason === "RATE_LIMITED", reason);
    allowed += reason === undefined ? 1 : 0;
    return allowed === 7;
  });
  for (const use of uses) {
    await refusedWith("RATE_LIMITED", use());
  }
});

test("a use of the token is a use of the key's secret", async () => {
  const key = await newKey();
  const token = bearer(await tokenOf(service, key.text));
  await decide(service, token, { clientAddress: "192.0.2.9" });
  await refusalOf(service, token, { organizationId: uuidv4() });
  await until("three uses are on record", async () => {
    const { days } = await asAdmin().getApiKeyUsage({ id: key.id, days: 1 });
    return days.some((day) => day.allowed === 2n && day.refused === 1n);
  });
});

test("nothing but an API key gets such a token: no other credential, and no token", async () => {
  const key = await newKey();
  const token = await tokenOf(service, key.text);
  const texts = [
    token,
    (
      await service.client(TokenService).issueToken({
        grant: { case: "password", value: { email: service.admin.email, password: service.admin.password } },
      })
    ).refreshToken,
    service.internalKey,
    key.text.slice(0, -1),
    `${key.text},${key.text}`,
    `${key.text}\r\nX-Internal-Key: ${service.internalKey}`,
    `Bearer ${token}`,
    "\u0000",
  ];
  for (const text of texts) {
    await refusedWith("API_KEY_INVALID", exchange(service, { apiKey: text }));
    // What else the call carries is no proof of it.
    const headers = internalKey(service.internalKey);
    await refusedWith("API_KEY_INVALID", exchange(service, { apiKey: text }, { headers }));
  }
  await refusedWith("REQUEST_INVALID", exchange(service, { apiKey: "" }));
  const inBrowser = { browserSession: true, headers: { origin: ISSUER } };
  await refusedWith("REQUEST_INVALID", exchange(service, { apiKey: key.text }, inBrowser));
  const organizationId = uuidv4();
  await refusedWith("ORGANIZATION_MISMATCH", exchange(service, { apiKey: key.text }, { organizationId }));
});

test("a token that says it is of another kind, or of somebody else, is none of ours", async () => {
  const { privateKey } = await signingKeyOf(service.core);
  const [key, second] = [await newKey(), await newKey()];
  const { header, payload } = readParts(await tokenOf(service, key.text));
  const login = readParts(admin["authorization"]?.slice("Bearer ".length) ?? "").payload;
  const forged = [
    { kind: undefined },
    { kind: "login" },
    { kind: "service" },
    { kind: "delegation" },
    { kind: "delegation", sub: service.admin.id },
    { kind: "other" },
    { kind: null },
    { kind: ["api_key"] },
    { sub: second.id },
    { sub: service.admin.id },
    { sid: login["sid"] },
    { sid: login["sid"], sub: service.admin.id },
  ];
  const good = bearer(forgeToken(header, payload, privateKey));
  assert.equal(await refusalOf(service, good), undefined);
  for (const claims of forged) {
    const token = bearer(forgeToken(header, { ...payload, ...claims }, privateKey));
    assert.equal(await refusalOf(service, token), "TOKEN_INVALID", JSON.stringify(claims));
  }
  for (const kind of ["api_key", "service", "delegation"]) {
    const token = bearer(forgeToken(header, { ...login, kind }, privateKey));
    assert.equal(await refusalOf(service, token), "TOKEN_INVALID", kind);
  }
});

test("what is made with a token is bound by it, and ends with the key", async () => {
  const permissions = ["auth.api_keys.write", "calls.*"];
  const key = await newKey({ permissions });
  const named = ["auth.api_keys.write", "calls.read"];
  const narrowed = service.client(
    ApiKeyService,
    bearer(await tokenOf(service, key.text, { permissions: named })),
  );
  const issued = await exchange(service, { apiKey: key.text });
  const whole = service.client(ApiKeyService, bearer(issued.accessToken));
  const soon = { seconds: BigInt(Math.floor(Date.now() / 1_000) + 60), nanos: 0 };
  const make = (client: typeof whole, granted: string[], expireTime = soon) =>
    client.createApiKey({ name: "made", permissions: granted, expireTime });

  await refusedWith("PERMISSION_NOT_HELD", make(narrowed, ["calls.write"]));
  // It would come to reach more than the token does.
  await refusedWith("PERMISSION_NOT_HELD", make(narrowed, ["calls.*"]));
  const endless = { name: "made", permissions: ["calls.read"] };
  await refusedWith("PERMISSION_NOT_HELD", whole.createApiKey(endless));
  const late = { seconds: soon.seconds + 7_200n, nanos: 0 };
  await refusedWith("PERMISSION_NOT_HELD", make(whole, ["calls.read"], late));
  const made = [await make(narrowed, ["calls.read"]), await make(whole, ["calls.*"])];
  for (const { secret } of made) {
    assert.equal(await refusalOf(other, apiKey(secret)), undefined);
  }
  await asAdmin().revokeApiKey({ id: key.id });
  for (const { secret } of made) {
    assert.equal(await refusalOf(other, apiKey(secret)), "API_KEY_REVOKED");
  }
});

test("a token that was narrowed is not told what its key was told before", async () => {
  const key = await newKey({ permissions: ["auth.api_keys.write", "calls.read"] });
  const request = { name: "made", permissions: ["calls.read"], idempotencyKey: uuidv4() };
  const { secret } = await service.client(ApiKeyService, apiKey(key.text)).createApiKey(request);
  assert.notEqual(secret, "");
  const permissions = ["auth.api_keys.write"];
  const token = bearer(await tokenOf(service, key.text, { permissions }));
  await refusedWith("PERMISSION_NOT_HELD", service.client(ApiKeyService, token).createApiKey(request));
});

test("a key that is revoked while its token is issued leaves none behind, and a token that ends makes nothing", async () => {
  const key = await newKey({ permissions: ["auth.api_keys.write", "calls.read"] });
  const expireTime = { seconds: BigInt(Math.floor(Date.now() / 1_000) + 60), nanos: 0 };
  const token = await tokenOf(service, key.text);
  const make = () =>
    reasonOf(
      service
        .client(ApiKeyService, bearer(token))
        .createApiKey({ name: "made", permissions: ["calls.read"], expireTime }),
    );
  assert.equal(await make(), undefined);
  const meet = async (call: () => Promise<string | undefined>, change: string, id: unknown) => {
    await using held = await holdRows(service.connection, change, [id]);
    const result = call();
    await held.waiting(1);
    await held.release();
    return await result;
  };
  const { sid } = readParts(token).payload;
  const narrow = "update api_keys set permissions = '{auth.api_keys.write}' where id = $1";
  assert.equal(await meet(make, narrow, key.id), "PERMISSION_DENIED");
  await run("update api_keys set permissions = '{auth.api_keys.write,calls.read}' where id = $1", key.id);
  const lessen = "update sessions set permissions = '{calls.read}' where id = $1";
  assert.equal(await meet(make, lessen, sid), "PERMISSION_DENIED");
  await run("update sessions set permissions = null where id = $1", sid);
  assert.equal(
    await meet(make, "update sessions set revoke_time = now() where id = $1", sid),
    "TOKEN_REVOKED",
  );
  const sessions = () => run("select id from sessions where api_key_id = $1", key.id);
  const before = await sessions();
  const issue = () => reasonOf(exchange(other, { apiKey: key.text }));
  assert.equal(
    await meet(issue, "update api_keys set revoke_time = now() where id = $1", key.id),
    "API_KEY_REVOKED",
  );
  assert.deepEqual(await sessions(), before);
});

test("a key that was taken over gets tokens before and after it has a slot, and for the secret alone", async () => {
  const text = oldKey();
  const id = await importKey(service, keyOf(text));
  const first = bearer(await tokenOf(service, text));
  assert.equal(await refusalOf(other, first), undefined);
  await untilRehashed(service, id);
  assert.equal(await refusalOf(other, first), undefined);
  assert.equal(await refusalOf(other, bearer(await tokenOf(other, text))), undefined);
  await asAdmin().revokeApiKey({ id });
  assert.equal(await refusalOf(other, first), "API_KEY_REVOKED");

  // The foreign hash is no stand-in for a secret that was taken back.
  const unused = oldKey();
  const rotated = await importKey(service, keyOf(unused));
  const { secret } = await asAdmin().rotateApiKey({ id: rotated, overlap: { seconds: 60n } });
  const token = bearer(await tokenOf(service, secret));
  await asAdmin().cancelRotation({ id: rotated });
  assert.equal(await refusalOf(other, token), "API_KEY_ROTATED");
});

test("an administrator ends one token by its session, and no other organization does", async () => {
  const key = await newKey();
  const token = bearer(await tokenOf(service, key.text));
  const sessionId = String(readParts(token["authorization"]?.slice(7) ?? "").payload["sid"]);
  const target = { case: "sessionId", value: sessionId } as const;
  const organizationId = await addOrganization(service.core);
  const permissions = ["auth.sessions.write"];
  const foreign = await newKey({
    organizationId,
    owner: { serviceKeyId: (await addServiceKey(service.core, { permissions })).id },
    permissions,
  });
  await refusedWith("NOT_FOUND", service.client(TokenService, apiKey(foreign.text)).revokeToken({ target }));
  const weak = await newKey({ permissions: ["calls.read"] });
  await refusedWith(
    "PERMISSION_DENIED",
    service.client(TokenService, apiKey(weak.text)).revokeToken({ target }),
  );
  assert.equal(await refusalOf(other, token), undefined);
  await service.client(TokenService, admin).revokeToken({ target });
  assert.equal(await refusalOf(other, token), "TOKEN_REVOKED");
  assert.equal(await refusalOf(other, apiKey(key.text)), undefined);
  const events = await run<{ action: string; actor_type: string }>(
    "select action, actor_type from audit_events where target_id = $1 order by id",
    sessionId,
  );
  assert.deepEqual(events, [
    { action: "session.create", actor_type: "api_key" },
    { action: "session.revoke", actor_type: "user" },
  ]);
});
