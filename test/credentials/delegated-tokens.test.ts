import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { v4 as uuidv4 } from "uuid";
import { CredentialType, PrincipalType } from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { SessionKind } from "../../src/gen/latchkey/v1/token_pb.ts";
import { apiKey, bearer, type Headers, internalKey } from "../access/actors.ts";
import { addApiKey, addOrganization, addRole, addServiceKey, addUser } from "../access/cast.ts";
import { plainRights } from "../permissions/plain-permissions.ts";
import { query } from "../support/cluster.ts";
import { readParts } from "../support/forge-token.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  ServiceKeyService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";
import { holdRows } from "./row-lock.ts";
import { decide, delegate, exchange, refusalOf, tokenOf } from "./token-grants.ts";

// A service gets a token to act on a user's behalf. It is for what both may do, and it is not the user.

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

/** Nobody logs in as them here. */
const password = { hash: "none" };

const DELEGATE = "platform.tokens.delegate";

const newService = async (permissions: readonly string[] = ["*"], more: { allowedCidrs?: string[] } = {}) => {
  const key = await addServiceKey(service.core, { permissions, ...more });
  return { ...key, headers: internalKey(key.text) };
};

const newUser = (role = "member", more: Partial<Parameters<typeof addUser>[1]> = {}) =>
  addUser(service.core, { organizationId: service.organizationId, role, password, ...more });

const tokenFor = async (headers: Headers, userId: string, permissions: string[] = []) =>
  (await delegate(service, headers, { userId, permissions })).accessToken;

const sidOf = (token: string) => String(readParts(token).payload["sid"]);

test("the token is for the user, and names the service wherever it is shown", async () => {
  const caller = await newService();
  const user = await newUser();
  const issued = await delegate(service, caller.headers, { userId: user.id.toUpperCase() });
  assert.deepEqual(
    [issued.user?.id, issued.user?.email, issued.user?.role, issued.refreshToken],
    [user.id, user.email, "member", ""],
  );
  const { payload } = readParts(issued.accessToken);
  assert.deepEqual(
    [payload["sub"], payload["act"], payload["client_id"], payload["kind"], payload["org"], payload["role"]],
    [user.id, { sub: caller.id }, caller.id, "delegation", service.organizationId, undefined],
  );
  assert.equal(Number(payload["exp"]) - Number(payload["iat"]), 3_600);
  const headers = bearer(issued.accessToken);
  const whoAmI = await other.client(AuthenticationService, headers).whoAmI({});
  const explained = await other.client(AuthenticationService, admin).explain({
    request: { headers: [{ name: "Authorization", value: headers["authorization"] ?? "" }] },
  });
  const answers = [await decide(other, headers), whoAmI, explained.response];
  for (const answer of answers) {
    assert.equal(answer?.principal?.id, user.id);
    assert.equal(answer?.principal?.type, PrincipalType.USER);
    assert.equal(answer?.principal?.email, user.email);
    // Nobody is to take a service for whatever the user is.
    assert.equal(answer?.principal?.role, "");
    assert.equal(answer?.delegatedBy?.id, caller.id);
    assert.equal(answer?.delegatedBy?.type, PrincipalType.SERVICE);
    assert.equal(answer?.credential?.type, CredentialType.ACCESS_TOKEN);
    assert.equal(answer?.organization?.id, service.organizationId);
  }
  const { sessions } = await service.client(TokenService, admin).listSessions({ userId: user.id });
  assert.deepEqual(
    sessions.map(({ kind, serviceKeyId, userId }) => ({ kind, serviceKeyId, userId })),
    [{ kind: SessionKind.DELEGATION, serviceKeyId: caller.id, userId: user.id }],
  );
});

const TEXTS = [
  "calls.hold",
  "calls.read",
  "auth.users.read",
  "platform.users.read",
  "calls.*",
  "*.read",
  "*",
];

test("it may do what the user, the key and what was named all allow, as they are now", async () => {
  const scope = async (name: string) =>
    (await run<{ name: string }>("select name from permissions where scope = $1", name)).map(
      (row) => row.name,
    );
  const catalogue = { organization: await scope("organization"), platform: await scope("platform") };
  const { organizationId } = service;
  const roleId = await addRole(service.core, { organizationId, name: "changing", permissions: [] });
  const user = await newUser("changing");
  const lists = fc.subarray(TEXTS);
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        role: lists,
        key: lists,
        named: lists,
        laterKey: lists,
        laterRole: lists,
        isOfPlatform: fc.boolean(),
      }),
      async ({ role, key, named, laterKey, laterRole, isOfPlatform }) => {
        const set = (permissions: string[], ofPlatform: boolean) =>
          run(
            `with r as (update roles set permissions = $2 where id = $1)
            update users set platform_role = case when $4 then 'administrator' end where id = $3`,
            roleId,
            permissions,
            user.id,
            ofPlatform,
          );
        await set(role, isOfPlatform);
        const caller = await newService([...key, DELEGATE]);
        const answer = await delegate(service, caller.headers, { userId: user.id, permissions: named }).catch(
          () => undefined,
        );
        const isWithin = (text: string) => key.includes(text) || key.includes("*");
        if (answer === undefined) {
          assert.ok(!named.every(isWithin), `${named} of ${key}`);
          return;
        }
        const expected = (byRole: string[], byKey: string[], ofPlatform: boolean) => {
          const ofUser = plainRights(byRole, "role", catalogue).union(
            new Set(ofPlatform ? catalogue.platform : []),
          );
          const ofKey = plainRights(byKey, "service-key", catalogue);
          const both = ofUser.intersection(ofKey);
          return [
            ...(named.length === 0 ? both : both.intersection(plainRights(named, "service-key", catalogue))),
          ].sort();
        };
        const rights = async () => (await decide(other, bearer(answer.accessToken))).permissions;
        assert.deepEqual(await rights(), expected(role, [...key, DELEGATE], isOfPlatform));
        await set(laterRole, !isOfPlatform);
        await run("update service_keys set permissions = $2 where id = $1", caller.id, laterKey);
        assert.deepEqual(await rights(), expected(laterRole, laterKey, !isOfPlatform));
      },
    ),
    { numRuns: 50 },
  );
});

describe("the token ends on every replica, at its next call, with", () => {
  interface Made {
    readonly caller: { readonly id: string };
    readonly userId: string;
    readonly organizationId: string;
    readonly token: string;
  }
  const cases: Record<string, (made: Made) => Promise<string>> = {
    "the revocation of the internal key": async ({ caller }) => {
      await service.client(ServiceKeyService, admin).revokeServiceKey({ id: caller.id });
      return "SERVICE_KEY_REVOKED";
    },
    "the end of the internal key": async ({ caller }) => {
      await run("update service_keys set expire_time = now() where id = $1", caller.id);
      return "SERVICE_KEY_EXPIRED";
    },
    "the end of the secret that was presented": async ({ caller }) => {
      const keys = service.client(ServiceKeyService, admin);
      await keys.rotateServiceKey({ id: caller.id, overlap: { seconds: 60n } });
      await keys.finishServiceKeyRotation({ id: caller.id });
      return "SERVICE_KEY_ROTATED";
    },
    "a user who is disabled, also once they are enabled again": async ({ userId, organizationId, token }) => {
      const users = service.client(UserService, internalKey(service.internalKey));
      await users.updateUser({ id: userId, organizationId, disabled: true });
      assert.equal(await refusalOf(other, bearer(token)), "USER_DISABLED");
      await users.updateUser({ id: userId, organizationId, disabled: false });
      return "TOKEN_REVOKED";
    },
    "a user who has left": async ({ userId, organizationId }) => {
      await service
        .client(UserService, internalKey(service.internalKey))
        .removeMembership({ id: userId, organizationId });
      return "USER_DISABLED";
    },
    "the user's sessions": async ({ userId, organizationId }) => {
      const target = { case: "userId", value: userId } as const;
      const tokens = service.client(TokenService, internalKey(service.internalKey));
      await tokens.revokeToken({ target, organizationId });
      return "TOKEN_REVOKED";
    },
    "the suspension of the organization": async ({ organizationId }) => {
      await service
        .client(OrganizationService, admin)
        .updateOrganization({ id: organizationId, suspended: true });
      return "ORGANIZATION_SUSPENDED";
    },
    "whoever holds the token and gives it back": async ({ token, caller, userId }) => {
      await service.client(TokenService).revokeToken({ target: { case: "token", value: token } });
      const [event] = await run<{ actor_type: string; actor_id: string; behalf: string }>(
        `select actor_type, actor_id, on_behalf_of as behalf from audit_events
        where action = 'session.revoke' and target_id = $1`,
        sidOf(token),
      );
      assert.deepEqual(event, { actor_type: "service", actor_id: caller.id, behalf: userId });
      return "TOKEN_REVOKED";
    },
  };
  for (const [what, end] of Object.entries(cases)) {
    test(what, async () => {
      const organizationId = await addOrganization(service.core);
      const { id: userId } = await newUser("member", { organizationId });
      const caller = await newService();
      const token = await tokenFor(caller.headers, userId);
      assert.equal(await refusalOf(other, bearer(token)), undefined);
      const reason = await end({ caller, userId, organizationId, token });
      assert.equal(await refusalOf(other, bearer(token)), reason);
      assert.equal(await refusalOf(service, bearer(token)), reason);
    });
  }
});

test("only an internal key that holds the permission gets one: no person, no API key, and no token", async () => {
  const { id: userId } = await newUser();
  const ask = (headers: Headers) => delegate(service, headers, { userId });
  await refusedWith("CREDENTIAL_MISSING", ask({}));
  await refusedWith("SERVICE_KEY_REQUIRED", ask(admin));
  await refusedWith("PERMISSION_DENIED", ask(apiKey(service.apiKey)));
  await refusedWith("PERMISSION_DENIED", ask((await newService(["calls.*", "auth.*"])).headers));
  const caller = await newService([DELEGATE, "calls.read"]);
  await ask(caller.headers);
  // For itself the token holds the permission, and gets nothing by it.
  const own = (await delegate(service, caller.headers, {})).accessToken;
  assert.ok((await decide(service, bearer(own))).permissions.includes(DELEGATE));
  await refusedWith("SERVICE_KEY_REQUIRED", ask(bearer(own)));
  await refusedWith("SERVICE_KEY_REQUIRED", delegate(service, bearer(own), {}));
  const onBehalf = await tokenFor((await newService()).headers, service.admin.id);
  assert.ok((await decide(service, bearer(onBehalf))).permissions.includes(DELEGATE));
  await refusedWith("SERVICE_KEY_REQUIRED", ask(bearer(onBehalf)));
  await refusedWith("PERMISSION_DENIED", ask(bearer(await tokenOf(service, service.apiKey))));
  await refusedWith("API_KEY_INVALID", exchange(service, { apiKey: onBehalf }));
  const named = (permissions: string[]) => delegate(service, caller.headers, { userId, permissions });
  await refusedWith("PERMISSION_NOT_HELD", named(["calls.write"]));
  await refusedWith("PERMISSION_NOT_HELD", named(["calls.*"]));
  await refusedWith("PERMISSION_UNKNOWN", named(["calls.raed"]));
});

test("the organization is the one that is named, or the user's only one, and they have to be active in it", async () => {
  const [here, there, nowhere] = [
    await addOrganization(service.core),
    await addOrganization(service.core),
    await addOrganization(service.core),
  ];
  const { id: userId, email } = await newUser("member", { organizationId: here });
  const { headers } = await newService();
  const ask = (more: object = {}, extra: Headers = {}) =>
    delegate(service, { ...headers, ...extra }, { userId }, more);
  const orgOf = async (answer: Promise<{ accessToken: string }>) =>
    (await decide(other, bearer((await answer).accessToken))).organization?.id;
  assert.equal(await orgOf(ask()), here);
  await newUser("viewer", { organizationId: there, email });
  await newUser("owner", { organizationId: nowhere, email, accepted: false });
  await refusedWith("ORGANIZATION_REQUIRED", ask());
  assert.equal(await orgOf(ask({ organizationId: there })), there);
  assert.equal(await orgOf(ask({}, { "x-org-id": here })), here);
  assert.equal(await orgOf(ask({ organizationId: here }, { "x-org-id": here })), here);
  await refusedWith("ORGANIZATION_AMBIGUOUS", ask({ organizationId: here }, { "x-org-id": there }));
  await refusedWith("NOT_FOUND", ask({ organizationId: nowhere }));
  await refusedWith("NOT_FOUND", ask({ organizationId: uuidv4() }));
  await refusedWith("NOT_FOUND", delegate(service, headers, { userId: uuidv4() }));
  await run("update memberships set disable_time = now() where organization_id = $1", there);
  await refusedWith("NOT_FOUND", ask({ organizationId: there }));
  await run("update organizations set suspend_time = now() where id = $1", here);
  await refusedWith("ORGANIZATION_SUSPENDED", ask({ organizationId: here }));
  // The token goes nowhere else than it was issued for.
  const { id } = await newUser();
  const token = bearer(await tokenFor(headers, id));
  assert.equal(await refusalOf(other, token, { organizationId: nowhere }), "ORGANIZATION_MISMATCH");
  const permissions = ["auth.authenticate"];
  const owner = { serviceKeyId: (await newService(permissions)).id };
  const caller = await addApiKey(service.core, { organizationId: nowhere, owner, permissions });
  const strict = await startService({ beside: service, callers: "authenticated" });
  try {
    const asked = { headers: [{ name: "authorization", value: token["authorization"] ?? "" }] };
    const client = strict.client(AuthenticationService, apiKey(caller.text));
    await refusedWith("ORGANIZATION_MISMATCH", client.authenticate(asked));
    await run("update users set platform_role = 'administrator' where id = $1", id);
    await refusedWith("ORGANIZATION_MISMATCH", client.authenticate(asked));
  } finally {
    await strict.stop();
  }
});

test("a service on somebody's behalf is not that person: neither in what is their own, nor as an owner", async () => {
  const organizationId = await addOrganization(service.core);
  const owner = await newUser("owner", { organizationId });
  const second = await newUser("owner", { organizationId });
  const caller = await newService(["auth.*", "calls.*", DELEGATE]);
  const whole = bearer(await tokenFor(caller.headers, owner.id));
  const little = bearer(await tokenFor(caller.headers, owner.id, ["calls.read"]));
  const tokens = service.client(TokenService, little);
  await refusedWith("PERMISSION_DENIED", service.client(UserService, little).getUser({ id: owner.id }));
  await refusedWith("PERMISSION_DENIED", tokens.listSessions({ userId: owner.id }));
  const own = { case: "userId", value: owner.id } as const;
  await refusedWith("PERMISSION_DENIED", tokens.revokeToken({ target: own }));
  const sid = sidOf(whole["authorization"]?.slice("Bearer ".length) ?? "");
  const one = { case: "sessionId", value: sid } as const;
  await refusedWith("PERMISSION_DENIED", tokens.revokeToken({ target: one }));

  // Somewhere else the user has sessions too, which are not for this token.
  const elsewhere = await addOrganization(service.core);
  await newUser("owner", { organizationId: elsewhere, email: owner.email });
  const there = (await delegate(service, caller.headers, { userId: owner.id }, { organizationId: elsewhere }))
    .accessToken;
  for (const headers of [whole, little]) {
    await refusedWith("PERMISSION_DENIED", service.client(UserService, headers).listMemberships({}));
    const named = service.client(UserService, headers).listMemberships({ id: owner.id });
    await refusedWith("PERMISSION_DENIED", named);
  }
  const full = service.client(TokenService, whole);
  const listed = (await full.listSessions({ userId: owner.id })).sessions.map((each) => each.organizationId);
  assert.deepEqual(new Set(listed), new Set([organizationId]));
  const foreign = { case: "sessionId", value: sidOf(there) } as const;
  await refusedWith("NOT_FOUND", full.revokeToken({ target: foreign }));

  const users = service.client(UserService, whole);
  await refusedWith("OWNER_REQUIRED", users.updateUser({ id: second.id, disabled: true }));
  await refusedWith("OWNER_REQUIRED", users.removeMembership({ id: second.id }));
  // By names alone: a role's patterns would reach further than it.
  const roles = service.client(RoleService, whole);
  await refusedWith(
    "PERMISSION_NOT_HELD",
    roles.createRole({ name: "wide", permissions: { values: ["calls.*"] } }),
  );
  await roles.createRole({ name: "named", permissions: { values: ["calls.read"] } });
  assert.equal(await refusalOf(other, bearer(there)), undefined);
});

test("what is made on somebody's behalf is on record for both, is bound by the token, and ends with the key", async () => {
  const caller = await newService();
  const user = await newUser("admin");
  const token = await tokenFor(caller.headers, user.id);
  const keys = service.client(ApiKeyService, bearer(token));
  const asked = { name: "made", permissions: ["calls.read"] };
  await refusedWith("PERMISSION_NOT_HELD", keys.createApiKey(asked));
  const expireTime = { seconds: BigInt(Math.floor(Date.now() / 1_000) + 60), nanos: 0 };
  await refusedWith("PERMISSION_NOT_HELD", keys.createApiKey({ ...asked, permissions: ["*"], expireTime }));
  const { secret, apiKey: made } = await keys.createApiKey({ ...asked, expireTime });
  const events = await run(
    `select action, actor_type, actor_id, on_behalf_of as behalf, organization_id as org
    from audit_events where target_id = any($1) order by id`,
    [sidOf(token), made?.id],
  );
  const both = { actor_type: "service", actor_id: caller.id, behalf: user.id, org: service.organizationId };
  assert.deepEqual(events, [
    { action: "session.create", ...both },
    { action: "api_key.create", ...both },
  ]);
  // It stands on the user, and is known to the service.
  assert.equal(await refusalOf(other, apiKey(secret)), undefined);
  await service.client(ServiceKeyService, admin).revokeServiceKey({ id: caller.id });
  assert.equal(await refusalOf(other, apiKey(secret)), "API_KEY_REVOKED");
});

test("a service's own token is the key, narrowed: for each organization, or for the one that it was got for", async () => {
  const caller = await newService(["calls.*", "auth.users.read", DELEGATE]);
  const { organizationId } = service;
  const foreign = await addOrganization(service.core);
  const open = await delegate(service, caller.headers, { permissions: ["calls.read"] });
  assert.equal(open.user, undefined);
  const answer = await decide(other, bearer(open.accessToken));
  assert.deepEqual(
    [answer.principal?.id, answer.principal?.type, answer.permissions, answer.allOrganizations],
    [caller.id, PrincipalType.SERVICE, ["calls.read"], true],
  );
  assert.equal(answer.delegatedBy, undefined);
  const named = await decide(other, { ...bearer(open.accessToken), "x-org-id": foreign });
  assert.equal(named.organization?.id, foreign);
  const nobody = { organizationId: uuidv4() };
  assert.equal(await refusalOf(other, bearer(open.accessToken), nobody), "ORGANIZATION_UNKNOWN");

  const bound = (await delegate(service, caller.headers, {}, { organizationId })).accessToken;
  assert.equal((await decide(other, bearer(bound))).organization?.id, organizationId);
  assert.equal(await refusalOf(other, bearer(bound), { organizationId: foreign }), "ORGANIZATION_MISMATCH");
  const users = service.client(UserService, bearer(bound));
  await refusedWith("ORGANIZATION_AMBIGUOUS", users.listUsers({ organizationId: foreign }));
  await users.listUsers({});
  await refusedWith("ORGANIZATION_UNKNOWN", delegate(service, caller.headers, {}, nobody));
  await run("update organizations set suspend_time = now() where id = $1", foreign);
  const suspended = { organizationId: foreign };
  await refusedWith("ORGANIZATION_SUSPENDED", delegate(service, caller.headers, {}, suspended));

  // It is no organization's to see or to end.
  const target = { case: "sessionId", value: sidOf(bound) } as const;
  const owner = bearer(await tokenFor((await newService(["auth.*", DELEGATE])).headers, service.admin.id));
  await refusedWith("NOT_FOUND", service.client(TokenService, owner).revokeToken({ target }));
  const { sessions } = await service.client(TokenService, owner).listSessions({ pageSize: 250 });
  assert.ok(!sessions.some(({ id }) => id === sidOf(bound)));
  await service.client(TokenService, admin).revokeToken({ target });
  assert.equal(await refusalOf(other, bearer(bound)), "TOKEN_REVOKED");
});

test("a service's token for one organization never comes to be one for each", async () => {
  const organizationId = await addOrganization(service.core);
  const { headers } = await newService();
  const bound = bearer((await delegate(service, headers, {}, { organizationId })).accessToken);
  assert.equal((await decide(other, bound)).organization?.id, organizationId);
  // Whatever may have been missed when it was deleted.
  await run(
    "update organizations set delete_time = now(), suspend_time = now(), name_key = null where id = $1",
    organizationId,
  );
  for (const asked of [{}, { organizationId }, { organizationId: service.organizationId }]) {
    assert.equal(await refusalOf(other, bound, asked), "ORGANIZATION_UNKNOWN");
  }
});

test("the internal key's addresses bind its tokens", async () => {
  const { id: userId } = await newUser();
  const away = await newService(["*"], { allowedCidrs: ["192.0.2.0/24"] });
  await refusedWith("CLIENT_ADDRESS_DENIED", delegate(service, away.headers, { userId }));
  const { headers } = await newService(["*"], { allowedCidrs: ["127.0.0.0/8"] });
  const token = bearer(await tokenFor(headers, userId));
  assert.equal(await refusalOf(other, token, { clientAddress: "127.0.0.1" }), undefined);
  assert.equal(await refusalOf(other, token, { clientAddress: "192.0.2.1" }), "CLIENT_ADDRESS_DENIED");
});

test("whoever is disabled, revoked or demoted while a call waits gets nothing and makes nothing", async () => {
  const { organizationId } = service;
  const meet = async (call: () => Promise<unknown>, change: string, ...ids: unknown[]) => {
    await using held = await holdRows(service.connection, change, ids);
    const result = reasonOf(call());
    await held.waiting(1);
    await held.release();
    return await result;
  };
  const caller = await newService();
  const user = await newUser("admin");
  const issue = () => delegate(other, caller.headers, { userId: user.id });
  const disable = "update memberships set disable_time = now() where user_id = $1";
  assert.equal(await meet(issue, disable, user.id), "NOT_FOUND");
  await run("update memberships set disable_time = null where user_id = $1", user.id);

  const token = bearer(await tokenFor(caller.headers, user.id));
  const make = () =>
    other
      .client(RoleService, token)
      .createRole({ name: `role-${uuidv4()}`, permissions: { values: ["calls.read"] } });
  assert.equal(await reasonOf(make()), undefined);
  assert.equal(await meet(make, disable, user.id), "USER_DISABLED");
  await run("update memberships set disable_time = null where user_id = $1", user.id);
  const demote = `update memberships set role_id =
    (select id from roles where organization_id = $2 and name = 'viewer') where user_id = $1`;
  assert.equal(await meet(make, demote, user.id, organizationId), "PERMISSION_DENIED");
  const promote = demote.replace("viewer", "admin");
  await run(promote, user.id, organizationId);
  const lessen = "update service_keys set permissions = '{calls.read}' where id = $1";
  assert.equal(await meet(make, lessen, caller.id), "PERMISSION_DENIED");
  await run("update service_keys set permissions = '{*}' where id = $1", caller.id);
  const end = "update service_key_slots set expire_time = now() where service_key_id = $1";
  assert.equal(await meet(make, end, caller.id), "SERVICE_KEY_ROTATED");
  await run("update service_key_slots set expire_time = null where service_key_id = $1", caller.id);
  const revoke = "update service_keys set revoke_time = now() where id = $1";
  assert.equal(await meet(make, revoke, caller.id), "SERVICE_KEY_REVOKED");
  await run("update service_keys set revoke_time = null where id = $1", caller.id);
  assert.equal(await meet(issue, revoke, caller.id), "SERVICE_KEY_REVOKED");
});

test("two services that change each other's keys on somebody's behalf at once both get it", async () => {
  const user = await newUser("owner", { platformRole: "administrator" });
  const [one, two] = [await newService(), await newService()];
  const [byOne, byTwo] = [
    bearer(await tokenFor(one.headers, user.id)),
    bearer(await tokenFor(two.headers, user.id)),
  ];
  const rename = (replica: TestService, headers: Headers, id: string) => () =>
    reasonOf(
      replica
        .client(ServiceKeyService, headers)
        .updateServiceKey({ id, allowedCidrs: { values: ["127.0.0.0/8"] } }),
    );
  const share = "select from service_keys where id = $1 for share";
  await using first = await holdRows(service.connection, share, [one.id]);
  await using last = await holdRows(service.connection, share, [two.id]);
  const calls = [rename(service, byOne, two.id)(), rename(other, byTwo, one.id)()];
  await first.waiting(2);
  await first.release();
  await last.release();
  assert.deepEqual(await Promise.all(calls), [undefined, undefined]);
});
