import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";
import type { JsonValue } from "@bufbuild/protobuf";
import { query } from "../support/cluster.ts";
import { startService } from "../support/service.ts";
import { goodCalls } from "./methods.ts";
import { shown } from "./outcomes.ts";
import { callHttp1 } from "./raw-call.ts";
import { refusals } from "./refusals.ts";
import { twoTenants } from "./tenants.ts";

const service = await startService();
after(() => service.stop());
const { assertRefused, call } = await refusals(service);
const calls = await goodCalls(service);
const { serviceKeys, organizations, users, roles, newUser, newApiKey, newServiceKey, newRole, platform } =
  await twoTenants(service);

describe("a permission", () => {
  const UNKNOWN = [
    "calls.raed",
    "calls",
    "calls.",
    ".read",
    "Calls.read",
    "calls.READ",
    "calls.read ",
    " calls.read",
    "calls..read",
    "calls.read,calls.write",
    "calls/read",
    "calls:read",
    "calls.read.*",
    "*.*",
    "**",
    "c*",
    "calls.*d",
    "nothing.*",
    ...["*.nothing", "__proto__", "constructor", "toString", "' or true --", "\u0441alls.read", "*\0", "%"],
  ];
  /** Every way to give a permission to somebody. */
  const grants = async () => {
    const { body: imported } = calls.find(({ name }) => name === "ImportApiKeys") ?? assert.fail();
    const [key] = imported["keys"] as readonly object[];
    const [apiKey, serviceKey, role] = [await newApiKey(), await newServiceKey(), await newRole()];
    return [
      { method: "ApiKeyService/CreateApiKey", body: (text: string) => ({ name: "x", permissions: [text] }) },
      {
        method: "ApiKeyService/UpdateApiKey",
        body: (text: string) => ({ id: apiKey.id, permissions: { values: [text] } }),
      },
      {
        method: "ApiKeyService/ImportApiKeys",
        body: (text: string) => ({ ...imported, keys: [{ ...key, permissions: [text] }] }),
      },
      {
        method: "ServiceKeyService/CreateServiceKey",
        body: (text: string) => ({ name: "x", permissions: [text] }),
      },
      {
        method: "ServiceKeyService/UpdateServiceKey",
        body: (text: string) => ({ id: serviceKey, permissions: { values: [text] } }),
      },
      {
        method: "RoleService/CreateRole",
        body: (text: string) => ({ name: "x", permissions: { values: [text] } }),
      },
      {
        method: "RoleService/UpdateRole",
        body: (text: string) => ({ id: role.id, permissions: { values: [text] } }),
      },
    ];
  };
  const rowsFor = (all: Awaited<ReturnType<typeof grants>>, permissions: readonly string[]) =>
    all.flatMap(({ method, body }) =>
      permissions.map((permission) => ({
        name: `${method} ${shown(permission)}`,
        method,
        body: body(permission),
        outcome: "PERMISSION_UNKNOWN",
      })),
    );

  test("that nothing in the catalogue stands for is not granted", async () => {
    await assertRefused(rowsFor(await grants(), UNKNOWN), ({ method, body }) => call(method, body, platform));
  });

  test("of the platform is not granted to an API key or a role, and a pattern over Latchkey's own to no API key", async () => {
    const catalogue = await query<{ name: string }>(
      service.connection,
      "select name from permissions where scope = 'platform'",
    );
    const ofPlatform = [...catalogue.map(({ name }) => name), "platform.*", "platform.users.*", "*.import"];
    const all = await grants();
    const toKeys = all.filter(({ method }) => method.startsWith("ApiKeyService"));
    const toRoles = all.filter(({ method }) => method.startsWith("RoleService"));
    const rows = [
      ...rowsFor(toKeys, [...ofPlatform, "auth.*", "auth.users.*", "*.api_keys.write"]),
      ...rowsFor(toRoles, ofPlatform),
    ];
    await assertRefused(rows, ({ method, body }) => call(method, body, platform));
  });

  for (const method of ["Authenticate", "Explain"]) {
    const headers = [{ name: "X-API-Key", value: service.apiKey }];
    const ask = (more: object) => {
      const request = { headers, ...more };
      const isAsked = method === "Authenticate";
      return call(
        `AuthenticationService/${method}`,
        isAsked ? request : { request },
        ...(isAsked ? [] : [platform]),
      );
    };
    const patterns = ["calls.*", "*", "*.read"];
    const notHeld = ["auth.users.read", "platform.users.read"];

    test(`that a request needs is one concrete name of the catalogue, to ${method}`, async () => {
      const rows = [
        ...[...UNKNOWN, ...patterns].map((name) => ({ name, outcome: "PERMISSION_UNKNOWN" })),
        ...notHeld.map((name) => ({ name, outcome: "PERMISSION_DENIED" })),
      ];
      await assertRefused(rows, ({ name }) => ask({ requiredPermissions: ["calls.read", name] }));
    });

    test(`of which a request needs any is one too, though another is held, to ${method}`, async () => {
      const rows = [...UNKNOWN, ...patterns].map((name) => ({ name, outcome: "PERMISSION_UNKNOWN" }));
      await assertRefused(rows, ({ name }) => ask({ anyPermissions: ["calls.read", name] }));
      await assertRefused(
        [
          { name: "none is held", more: { anyPermissions: notHeld }, outcome: "PERMISSION_DENIED" },
          {
            name: "one is held",
            more: { anyPermissions: [...notHeld, "calls.read"] },
            outcome: "accepted",
          },
          {
            name: "one is held, and what is needed beside it is not",
            more: { anyPermissions: ["calls.read"], requiredPermissions: notHeld },
            outcome: "PERMISSION_DENIED",
          },
        ],
        ({ more }) => ask(more),
      );
    });
  }

  test("that is Latchkey's own is nobody's to define, and its scope is nobody's to change", async () => {
    const define = (name: string, scope: string, outcome: string) => ({ name, scope, outcome });
    const [organization, platformScope] = ["ORGANIZATION", "PLATFORM"];
    const rows = [
      ...["auth.everything", "auth.users.write", "auth.a.b.c"].map((name) =>
        define(name, organization, "PERMISSION_RESERVED"),
      ),
      ...["platform.everything", "platform.users.write"].map((name) =>
        define(name, platformScope, "PERMISSION_RESERVED"),
      ),
      define("platform.organization", organization, "PERMISSION_RESERVED"),
      define("calls.read", platformScope, "PERMISSION_NAME_TAKEN"),
    ];
    await assertRefused(rows, ({ name, scope }) =>
      call("RoleService/DefinePermission", { name, scope: `PERMISSION_SCOPE_${scope}` }, platform),
    );
  });
});

test("a role is one that the organization has", async () => {
  const user = (role: string) => ({ email: "new@acme.test", password: "correct horse battery", role });
  const { id } = await newUser();
  const rows = [
    ...["boss", "constructor", "owners", "administrator", "platform", "theirs"].map((name) => ({
      name,
      outcome: "ROLE_UNKNOWN",
    })),
    ...[
      "",
      "Owner",
      "OWNER",
      "owner ",
      " owner",
      "__proto__",
      "*",
      "owner\0",
      "\u043ewner",
      "' or true --",
    ].map((name) => ({ name, outcome: "REQUEST_INVALID" })),
  ];
  await assertRefused(rows, ({ name }) => call("UserService/CreateUser", user(name), platform));
  await assertRefused(rows, ({ name }) => call("UserService/UpdateUser", { id, role: name }, platform));
});

describe("what is taken", () => {
  test("is an organization's name in any case and in any form of its letters", async () => {
    await organizations.createOrganization({ name: "Caf\u00e9 \u216b Ltd" });
    const names = [
      ...["acme", "ACME", "aCmE", "\uff41\uff43\uff4d\uff45", "\u24d0\u24d2\u24dc\u24d4", "a\uff43me"],
      "Caf\u00e9 \u216b Ltd",
      "CAFE\u0301 xii LTD",
      "cafe\u0301 \u217b ltd",
      "caf\u00e9 XII\u2003\uff2c\u1d40\u1d30",
    ];
    const rows = names.map((name) => ({ name, outcome: "ORGANIZATION_NAME_TAKEN" }));
    await assertRefused(rows, ({ name }) =>
      call("OrganizationService/CreateOrganization", { name }, platform),
    );
  });

  test("is an email in its organization, in any case", async () => {
    const rows = ["admin@acme.test", "ADMIN@ACME.TEST", "Admin@acme.Test"].map((name) => ({
      name,
      outcome: "EMAIL_TAKEN",
    }));
    await assertRefused(rows, ({ name }) =>
      call(
        "UserService/CreateUser",
        { email: name, role: "viewer", password: "correct horse battery" },
        platform,
      ),
    );
  });

  test("is a role's name in its organization, the built-in ones' too", async () => {
    const [first, second] = [await newRole(), await newRole()];
    const names = ["owner", "admin", "member", "viewer", first.name];
    const rows = names.map((name) => ({ name, outcome: "ROLE_NAME_TAKEN" }));
    await assertRefused(rows, ({ name }) => call("RoleService/CreateRole", { name }, platform));
    await assertRefused(rows, ({ name }) =>
      call("RoleService/UpdateRole", { id: second.id, name }, platform),
    );
  });

  test("is a built-in role, which is neither changed nor deleted, and one that somebody has", async () => {
    const { roles: all } = await roles.listRoles({ pageSize: 250 });
    const builtIn = all.filter((role) => role.builtIn);
    assert.equal(builtIn.length, 4);
    const had = await newRole();
    await users.createUser({ email: `${randomUUID()}@acme.test`, password: randomUUID(), role: had.name });
    const rows = [
      ...builtIn.flatMap(({ id, name }) => [
        { name: `${name} deleted`, method: "DeleteRole", body: { id }, outcome: "ROLE_BUILT_IN" },
        { name: `${name} renamed`, method: "UpdateRole", body: { id, name: "x" }, outcome: "ROLE_BUILT_IN" },
        { name: `${name} kept`, method: "UpdateRole", body: { id }, outcome: "ROLE_BUILT_IN" },
        {
          name: `${name} emptied`,
          method: "UpdateRole",
          body: { id, permissions: {} },
          outcome: "ROLE_BUILT_IN",
        },
      ]),
      { name: had.name, method: "DeleteRole", body: { id: had.id }, outcome: "ROLE_IN_USE" },
    ];
    await assertRefused(rows, ({ method, body }) => call(`RoleService/${method}`, body, platform));
  });

  test("is an internal key's name until that key is revoked", async () => {
    const { serviceKey } = await serviceKeys.createServiceKey({ name: "billing" });
    const again = () => call("ServiceKeyService/CreateServiceKey", { name: "billing" }, platform);
    await assertRefused([{ name: "while it is good", outcome: "SERVICE_KEY_NAME_TAKEN" }], again);
    await serviceKeys.revokeServiceKey({ id: serviceKey?.id ?? assert.fail() });
    assert.equal(await again(), "accepted");
  });
});

describe("a create that is sent again with its idempotency key", () => {
  const creates = calls.filter(({ body }) => body["idempotencyKey"] !== undefined);
  /** What each field could say as well. */
  const OTHERS: Readonly<Record<string, JsonValue>> = {
    name: "other",
    permissions: ["calls.write"],
    environment: "live",
    expireTime: "2998-01-01T00:00:00Z",
    allowedCidrs: ["198.51.100.0/24"],
    metadata: { entries: {} },
    rateLimit: { requests: 1, windowSeconds: 1 },
    email: "other@acme.test",
    displayName: "Other",
    role: "member",
    password: "another correct horse",
  };

  test("is each create, and nothing else", () => {
    const names = calls.map(({ name }) => name).filter((name) => name.startsWith("Create"));
    assert.deepEqual(creates.map(({ name }) => name).toSorted(), names.toSorted());
  });

  for (const { name, path, body } of creates) {
    test(`${name}: gets the same answer to the byte, and with another request none`, async () => {
      const good = { ...body, idempotencyKey: `~!"'${"x".repeat(124)}` };
      const answer = async () => {
        const { status, body: said } = await callHttp1(service.port, path, [platform], JSON.stringify(good));
        return `${status} ${said}`;
      };
      const first = await answer();
      assert.match(first, /^200 /);
      await assertRefused([{ name: "again", outcome: first }], answer);
      const rows = Object.entries(body)
        .filter(([field]) => field !== "idempotencyKey" && field !== "organizationId")
        .map(([field, value]) => {
          const other = OTHERS[field] ?? assert.fail(`what else could ${field} say?`);
          const changed = { ...good, [field]: isListMessage(value) ? { values: other } : other };
          return { name: field, changed, outcome: "IDEMPOTENCY_KEY_REUSED" };
        });
      await assertRefused(rows, ({ changed }) => call(path, changed, platform));
    });
  }
});

function isListMessage(value: JsonValue): boolean {
  return typeof value === "object" && value !== null && Object.hasOwn(value, "values");
}

test("what is remembered of a key comes back as it was, whatever it is called", async () => {
  const entries = Object.fromEntries([
    ...[
      "constructor",
      "toString",
      "hasOwnProperty",
      "valueOf",
      "prototype",
      "then",
      "toJSON",
      "0",
      "1e9",
    ].map((name) => [name, `of ${name}`]),
    ["x".repeat(40), "\ud83d\udd11".repeat(500)],
    ["empty", ""],
    ["words", "' or true -- \\ $1 <b> %s"],
    ...Array.from({ length: 20 }, (_, at) => [`n.${at}_-`, String(at)]),
  ]);
  assert.equal(Object.keys(entries).length, 32);
  const body = { name: "remembers", permissions: ["calls.read"], metadata: { entries } };
  const say = async (method: string, said: object) => {
    const answer = await callHttp1(
      service.port,
      `/latchkey.v1.ApiKeyService/${method}`,
      [platform],
      JSON.stringify(said),
    );
    return JSON.parse(answer.body.toString()).apiKey;
  };
  const { id, metadata } = await say("CreateApiKey", body);
  assert.deepEqual(metadata, entries);
  assert.deepEqual((await say("GetApiKey", { id })).metadata, entries);
  assert.deepEqual((await say("UpdateApiKey", { id, name: "still" })).metadata, entries);
  const fewer = { constructor: "alone" };
  assert.deepEqual((await say("UpdateApiKey", { id, metadata: { entries: fewer } })).metadata, fewer);
  assert.deepEqual((await say("UpdateApiKey", { id, metadata: {} })).metadata, undefined);
});
