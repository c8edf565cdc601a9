import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { DescMethod } from "@bufbuild/protobuf";
import type { Reason } from "../../src/errors.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { accessRuleOf } from "../../src/server/access-rules.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";
import { apiKey, bearer, type Headers, internalKey, makeWorld, type World } from "./actors.ts";
import { addApiKey, addOrganization, addServiceKey, addUser } from "./cast.ts";
import { callMethod, EVERY_METHOD, isProof, nameOf, requestOf, unprovenRequestsOf } from "./methods.ts";
import { standingId } from "./targets.ts";

// Callers who hold every right that there is, and whose credential is not good any more, or not good here.

let service: TestService;
let world: World;
before(async () => {
  service = await startService({ callers: "authenticated" });
  world = await makeWorld(service);
});
after(() => service.stop());

const past = new Date(Date.now() - 1_000);
const run = (sql: string, ...values: unknown[]) => query(service.connection, sql, values);

async function person(organizationId: string): Promise<{ id: string; token: string }> {
  const { password } = world;
  const platformRole = "administrator";
  const { id, email } = await addUser(service.core, {
    organizationId,
    role: "owner",
    password,
    platformRole,
  });
  return { id, token: await service.logIn(email, password.text) };
}

async function keyOf(
  organizationId: string,
  owner: Parameters<typeof addApiKey>[1]["owner"],
  more: { expireTime?: Date; allowedCidrs?: string[] } = {},
) {
  const permissions = [
    "*",
    "auth.api_keys.write",
    "auth.api_keys.read",
    "auth.users.read",
    "auth.authenticate",
  ];
  return await addApiKey(service.core, { organizationId, owner, permissions, ...more });
}

const serviceKey = (more: { expireTime?: Date; allowedCidrs?: string[] } = {}) =>
  addServiceKey(service.core, { permissions: ["*"], ...more });

const suspend = (organizationId: string) =>
  run("update organizations set suspend_time = now() where id = $1", organizationId);

/** Who comes, and why they are refused whatever they ask for. */
const CALLERS: readonly (readonly [string, Reason, () => Promise<Headers>])[] = [
  [
    "an API key that has expired",
    "API_KEY_EXPIRED",
    async () => apiKey((await keyOf(world.acme.id, { userId: await ownerId() }, { expireTime: past })).text),
  ],
  [
    "an API key that was revoked",
    "API_KEY_REVOKED",
    async () => {
      const key = await keyOf(world.acme.id, { userId: await ownerId() });
      await run("update api_keys set revoke_time = now() where id = $1", key.id);
      return apiKey(key.text);
    },
  ],
  [
    "an API key of a user who is disabled",
    "API_KEY_CREATOR_INACTIVE",
    async () => {
      const { id } = await person(world.acme.id);
      const key = await keyOf(world.acme.id, { userId: id });
      await run("update memberships set disable_time = now() where user_id = $1", id);
      return apiKey(key.text);
    },
  ],
  [
    "an API key of an internal key that was revoked",
    "API_KEY_CREATOR_INACTIVE",
    async () => {
      const owner = await serviceKey();
      const key = await keyOf(world.acme.id, { serviceKeyId: owner.id });
      await run("update service_keys set revoke_time = now() where id = $1", owner.id);
      return apiKey(key.text);
    },
  ],
  [
    "an API key of an internal key that has expired",
    "API_KEY_CREATOR_INACTIVE",
    async () => {
      const owner = await serviceKey({ expireTime: past });
      return apiKey((await keyOf(world.acme.id, { serviceKeyId: owner.id })).text);
    },
  ],
  [
    "an API key of an organization that is suspended",
    "ORGANIZATION_SUSPENDED",
    async () => {
      const organizationId = await addOrganization(service.core);
      const { id } = await person(organizationId);
      await suspend(organizationId);
      return apiKey((await keyOf(organizationId, { userId: id })).text);
    },
  ],
  [
    "an API key that is bound to other addresses",
    "CLIENT_ADDRESS_DENIED",
    async () => {
      const bound = { allowedCidrs: ["203.0.113.0/24", "2001:db8::/32"] };
      return apiKey((await keyOf(world.acme.id, { userId: await ownerId() }, bound)).text);
    },
  ],
  [
    "an API key with X-Org-Id of another organization",
    "ORGANIZATION_MISMATCH",
    async () => ({
      ...apiKey(world.acme.apiKey),
      "x-org-id": world.globex.id,
    }),
  ],
  ["an API key that nobody made", "API_KEY_INVALID", async () => apiKey("ak_wrong")],
  ["an internal key in the place of an API key", "API_KEY_INVALID", async () => apiKey(service.internalKey)],
  [
    "a token of a user who is disabled",
    "USER_DISABLED",
    async () => {
      const { id, token } = await person(world.acme.id);
      await run("update memberships set disable_time = now() where user_id = $1", id);
      return bearer(token);
    },
  ],
  [
    "a token of a user whose membership is not accepted",
    "USER_DISABLED",
    async () => {
      const { id, token } = await person(world.acme.id);
      await run("update memberships set accept_time = null where user_id = $1", id);
      return bearer(token);
    },
  ],
  [
    "a token whose session was revoked",
    "TOKEN_REVOKED",
    async () => {
      const { id, token } = await person(world.acme.id);
      await run("update sessions set revoke_time = now() where user_id = $1", id);
      return bearer(token);
    },
  ],
  [
    "a token whose session has expired",
    "TOKEN_EXPIRED",
    async () => {
      const { id, token } = await person(world.acme.id);
      await run("update sessions set expire_time = now() where user_id = $1", id);
      return bearer(token);
    },
  ],
  [
    "a token of an organization that is suspended",
    "ORGANIZATION_SUSPENDED",
    async () => {
      const organizationId = await addOrganization(service.core);
      const { token } = await person(organizationId);
      await suspend(organizationId);
      return bearer(token);
    },
  ],
  [
    "a token with X-Org-Id of another organization",
    "ORGANIZATION_MISMATCH",
    async () => ({ ...bearer((await person(world.acme.id)).token), "x-org-id": world.globex.id }),
  ],
  ["a token that nobody signed", "TOKEN_INVALID", async () => bearer("eyJ.e30.x")],
  [
    "an internal key that has expired",
    "SERVICE_KEY_EXPIRED",
    async () => internalKey((await serviceKey({ expireTime: past })).text),
  ],
  [
    "an internal key that was revoked",
    "SERVICE_KEY_REVOKED",
    async () => {
      const key = await serviceKey();
      await run("update service_keys set revoke_time = now() where id = $1", key.id);
      return internalKey(key.text);
    },
  ],
  [
    "an internal key for an organization that is suspended",
    "ORGANIZATION_SUSPENDED",
    async () => {
      const organizationId = await addOrganization(service.core);
      await suspend(organizationId);
      return internalKey(service.internalKey, organizationId);
    },
  ],
  [
    "an internal key for an organization that does not exist",
    "ORGANIZATION_UNKNOWN",
    async () => internalKey(service.internalKey, world.missing),
  ],
  [
    "an internal key for what is no organization",
    "ORGANIZATION_ID_INVALID",
    async () => internalKey(service.internalKey, "acme"),
  ],
  [
    "an internal key that is bound to other addresses",
    "CLIENT_ADDRESS_DENIED",
    async () => internalKey((await serviceKey({ allowedCidrs: ["203.0.113.7/32"] })).text),
  ],
  [
    "an API key in the place of an internal key",
    "SERVICE_KEY_INVALID",
    async () => internalKey(world.acme.apiKey),
  ],
  [
    "two good credentials",
    "CREDENTIALS_AMBIGUOUS",
    async () => ({ ...apiKey(world.acme.apiKey), ...internalKey(service.internalKey) }),
  ],
  [
    "a good credential beside an alias of its header",
    "CREDENTIAL_HEADER_ALIAS",
    async () => ({ ...internalKey(service.internalKey), "x.api.key": "ak_1" }),
  ],
];

async function ownerId(): Promise<string> {
  return (await person(world.acme.id)).id;
}

const asFields = (headers: Headers) => Object.entries(headers).map(([name, value]) => ({ name, value }));

for (const [who, reason, headersOf] of CALLERS) {
  test(`${who} is refused to whoever asks, and Explain tells why as Authenticate does`, async () => {
    const request = { headers: asFields(await headersOf()), clientAddress: "127.0.0.1" };
    const client = service.client(AuthenticationService, internalKey(service.internalKey));
    const error = await refusedWith(reason, client.authenticate(request));
    const explained = await client.explain({ request });
    assert.equal(explained.allowed, false);
    assert.equal(explained.response, undefined);
    const { metadata } = error.findDetails(ErrorInfoSchema)[0] ?? {};
    assert.deepEqual(
      [explained.reason, explained.message, explained.metadata],
      [reason, error.rawMessage, metadata],
    );
    // All that was looked at before was good, and what failed is the last.
    const passed = explained.steps.map((step) => step.passed);
    assert.deepEqual(passed, [...passed.slice(1).map(() => true), false]);
    const secrets = Object.values(request.headers).map(({ value }) => value);
    const text = JSON.stringify(explained.steps);
    assert.ok(!secrets.some((secret) => secret.length > 20 && text.includes(secret.slice(-20))));
  });

  test(`${who} is refused everywhere, as ${reason}`, async () => {
    const headers = await headersOf();
    for (const method of EVERY_METHOD) {
      const rule = accessRuleOf(method);
      const good = { ...requestOf(method, world), ...idsOf(method) };
      for (const request of [good, ...unprovenRequestsOf(method, world)]) {
        const outcome = await callMethod(service.url, method, headers, request);
        const told = [outcome.reason, outcome.callerReason];
        if (rule.kind === "public" || rule.kind === "possession" || isProof(method, request)) {
          // Who comes along is not asked, but what the message itself proves; the invitation in it is none.
          const expected = method.name === "AcceptMembership" ? "LOGIN_FAILED" : undefined;
          assert.equal(outcome.reason, expected, nameOf(method));
        } else if (rule.kind === "permission" && rule.caller) {
          assert.deepEqual(told, ["CALLER_REJECTED", reason], nameOf(method));
        } else {
          assert.deepEqual(told, [reason, undefined], nameOf(method));
        }
      }
    }
  });
}

/** What the methods that need it name: things of their own organization. */
function idsOf(method: DescMethod): Record<string, unknown> {
  const hasId = method.input.fields.some(({ name }) => name === "id");
  return hasId ? { id: standingId(method, world.acme, world) } : {};
}

test("what was good is good again when what spoilt it has passed: nothing of the refusals stays", async () => {
  const organizationId = await addOrganization(service.core);
  const { id, token } = await person(organizationId);
  const key = await keyOf(organizationId, { userId: id });
  const [whoAmI] = EVERY_METHOD.filter(({ name }) => name === "WhoAmI");
  assert.ok(whoAmI);
  const ask = async () =>
    await Promise.all(
      [bearer(token), apiKey(key.text)].map(
        async (headers) => (await callMethod(service.url, whoAmI, headers, {})).reason,
      ),
    );
  assert.deepEqual(await ask(), [undefined, undefined]);
  await suspend(organizationId);
  assert.deepEqual(await ask(), ["ORGANIZATION_SUSPENDED", "ORGANIZATION_SUSPENDED"]);
  await run("update organizations set suspend_time = null where id = $1", organizationId);
  await run("update memberships set disable_time = now() where user_id = $1", id);
  assert.deepEqual(await ask(), ["USER_DISABLED", "API_KEY_CREATOR_INACTIVE"]);
  await run("update memberships set disable_time = null where user_id = $1", id);
  assert.deepEqual(await ask(), [undefined, undefined]);
});
