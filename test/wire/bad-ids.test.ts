import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { accessRuleOf } from "../../src/server/access-rules.ts";
import { query } from "../support/cluster.ts";
import { ApiKeyService, startService } from "../support/service.ts";
import { goodCalls } from "./methods.ts";
import { callHttp1, verdictOf } from "./raw-call.ts";
import { refusals } from "./refusals.ts";
import { idOf, nobody, twoTenants } from "./tenants.ts";

const service = await startService();
after(() => service.stop());
const { assertRefused, call } = await refusals(service);
const calls = await goodCalls(service);
const {
  apiKeys,
  serviceKeys,
  organizations,
  users,
  roles,
  newUser,
  newApiKey,
  newServiceKey,
  newRole,
  platform,
  ordinary,
  theirs,
} = await twoTenants(service);
const overlap = { seconds: 3600n };

describe("an id", () => {
  const FOREIGN = [
    { method: "ApiKeyService/GetApiKey", id: theirs.apiKeyId },
    { method: "ApiKeyService/GetApiKeyUsage", id: theirs.apiKeyId },
    { method: "ApiKeyService/UpdateApiKey", id: theirs.apiKeyId, more: { name: "mine" } },
    { method: "ApiKeyService/RotateApiKey", id: theirs.apiKeyId, more: { overlap: "0s" } },
    { method: "ApiKeyService/CancelRotation", id: theirs.apiKeyId },
    { method: "ApiKeyService/FinishRotation", id: theirs.apiKeyId },
    { method: "ApiKeyService/RevokeApiKey", id: theirs.apiKeyId },
    { method: "OrganizationService/GetOrganization", id: theirs.organizationId },
    { method: "UserService/GetUser", id: theirs.user.id },
    { method: "UserService/UpdateUser", id: theirs.user.id, more: { disabled: true } },
    { method: "UserService/RemoveMembership", id: theirs.user.id },
    { method: "RoleService/UpdateRole", id: theirs.roleId, more: { permissions: {} } },
    { method: "RoleService/DeleteRole", id: theirs.roleId },
  ];
  const OF_THE_PLATFORM = [
    { method: "OrganizationService/UpdateOrganization" },
    { method: "ServiceKeyService/GetServiceKey" },
    { method: "ServiceKeyService/GetServiceKeyUsage" },
    { method: "ServiceKeyService/UpdateServiceKey", more: { neverExpires: true } },
    { method: "ServiceKeyService/RotateServiceKey", more: { overlap: "0s" } },
    { method: "ServiceKeyService/CancelServiceKeyRotation" },
    { method: "ServiceKeyService/FinishServiceKeyRotation" },
    { method: "ServiceKeyService/RevokeServiceKey" },
  ];

  test("is tried with every method that names a thing by it", () => {
    const tried = [...FOREIGN, ...OF_THE_PLATFORM].map(({ method }) => `/latchkey.v1.${method}`);
    const named = calls.filter(({ method: { input } }) => input.field["id"] !== undefined);
    assert.deepEqual([...new Set(named.map(({ path }) => path))].toSorted(), tried.toSorted());
  });

  for (const { method, id, more = {} } of FOREIGN) {
    test(`of somebody else is nobody's to ${method}, to the byte`, async () => {
      const answers = new Set<string>();
      const foreign = [theirs.organizationId, theirs.user.id, theirs.apiKeyId, theirs.roleId];
      const ids = [nobody, id, id.toUpperCase(), ...foreign];
      const rows = [...new Set(ids)].map((named) => ({ name: named, outcome: "NOT_FOUND" }));
      await assertRefused(rows, async ({ name }) => {
        const body = JSON.stringify({ id: name, ...more });
        const answer = await callHttp1(service.port, `/latchkey.v1.${method}`, [ordinary], body);
        answers.add(answer.body.toString());
        return verdictOf(answer);
      });
      assert.equal(answers.size, 1);
    });
  }

  test("of nobody is not found by whoever may do everything", async () => {
    const rows = [...FOREIGN, ...OF_THE_PLATFORM].map((row) => ({
      more: {},
      ...row,
      name: row.method,
      outcome: "NOT_FOUND",
    }));
    await assertRefused(rows, ({ method, more }) => call(method, { id: nobody, ...more }, platform));
  });

  test("of another kind of thing is not found, though it is one's own", async () => {
    const [apiKey, role] = [await newApiKey(), await newRole()];
    const own: Readonly<Record<string, string>> = {
      ApiKeyService: apiKey.id,
      RoleService: role.id,
      UserService: service.admin.id,
      OrganizationService: service.organizationId,
      ServiceKeyService: await newServiceKey(),
    };
    const rows = [...FOREIGN, ...OF_THE_PLATFORM].flatMap(({ method, ...row }) =>
      Object.entries(own)
        .filter(([kind]) => !method.startsWith(kind))
        .map(([kind, id]) => ({
          more: {},
          ...row,
          id,
          method,
          name: `${method} ${kind}`,
          outcome: "NOT_FOUND",
        })),
    );
    await assertRefused(rows, ({ method, id, more }) => call(method, { id, ...more }, platform));
  });

  const named = calls.filter(({ body }) => typeof body["organizationId"] === "string");
  const inOrganization = named.flatMap((good) => {
    const rule = accessRuleOf(good.method);
    return rule.kind === "permission" && rule.permission.scope === "organization" ? [{ ...good, rule }] : [];
  });
  for (const { name: good, method, path, body } of inOrganization) {
    test(`of another organization is refused by ${good}, and one of nobody alike`, async () => {
      const isAbout = method.name === "Authenticate";
      const rows = [theirs.organizationId, theirs.organizationId.toUpperCase(), nobody].map(
        (organizationId) => ({
          name: organizationId,
          outcome: "ORGANIZATION_MISMATCH",
        }),
      );
      await assertRefused(rows, ({ name }) =>
        call(path, { ...body, organizationId: name }, ...(isAbout ? [] : [ordinary])),
      );
    });
  }

  test("of an organization that does not exist is told to whoever may do everything", async () => {
    const rows = inOrganization
      .filter(({ rule }) => !rule.caller)
      .map((good) => ({
        ...good,
        // Where the platform has no permission of its own for it, its people are in their organization only.
        outcome: good.rule.permission.platformName === "" ? "ORGANIZATION_MISMATCH" : "ORGANIZATION_UNKNOWN",
      }));
    assert.ok(rows.length > 8);
    await assertRefused(rows, ({ path, body }) => call(path, { ...body, organizationId: nobody }, platform));
    const imports = calls
      .filter(({ method: { name } }) => name === "ImportApiKeys")
      .map((good) => ({ ...good, outcome: "ORGANIZATION_UNKNOWN" }));
    await assertRefused(imports, ({ path, body }) =>
      call(path, { ...body, organizationId: nobody }, platform),
    );
  });

  test("has to be named by an internal key that acts for all, where the call is about one", async () => {
    // Somebody's sessions are looked for wherever they are.
    const everywhere = new Set(["RevokeToken", "ListSessions"]);
    const rows = inOrganization
      .filter(({ rule, method }) => !rule.caller && !everywhere.has(method.name))
      .map((good) => ({ ...good, outcome: "ORGANIZATION_REQUIRED" }));
    await assertRefused(rows, ({ path, body }) =>
      call(path, { ...body, organizationId: "" }, ["x-internal-key", service.internalKey]),
    );
  });

  test("of another organization is refused by Explain as by Authenticate, and tells nothing of it", async () => {
    const question = { headers: [{ name: "X-API-Key", value: service.apiKey }] };
    const rows = [theirs.organizationId, theirs.organizationId.toUpperCase(), nobody].map(
      (organizationId) => ({ name: organizationId, outcome: "ORGANIZATION_MISMATCH" }),
    );
    await assertRefused(rows, ({ name }) =>
      call("AuthenticationService/Explain", { request: { ...question, organizationId: name } }, ordinary),
    );
    for (const organizationId of [service.organizationId, service.organizationId.toUpperCase()]) {
      const request = { ...question, organizationId };
      assert.equal(await call("AuthenticationService/Explain", { request }, ordinary), "accepted");
    }
  });

  test("of an owner is one of the organization, who is there and may act", async () => {
    const leaving = await newUser();
    const removed = await newUser();
    await users.removeMembership({ id: removed.id });
    const disabled = await newUser();
    await users.updateUser({ id: disabled.id, disabled: true });
    const pending = await newUser();
    await query(service.connection, "update memberships set accept_time = null where user_id = $1", [
      pending.id,
    ]);
    const { body: good } = calls.find(({ name }) => name === "ImportApiKeys") ?? assert.fail();
    const owners = { nobody, theirs: theirs.user.id, removed: removed.id, disabled: disabled.id };
    const rows = Object.entries({
      ...owners,
      pending: pending.id,
      "of a key": (await newApiKey()).id,
    }).flatMap(([name, id]) =>
      [
        { method: "UserService/RemoveMembership", body: { id: leaving.id, newOwnerId: id } },
        { method: "ApiKeyService/ImportApiKeys", body: { ...good, ownerId: id } },
      ].map((row) => ({ ...row, name: `${row.method} ${name}`, outcome: "OWNER_UNKNOWN" })),
    );
    const themselves = {
      name: "whoever leaves",
      method: "UserService/RemoveMembership",
      body: { id: leaving.id, newOwnerId: leaving.id.toUpperCase() },
      outcome: "OWNER_UNKNOWN",
    };
    await assertRefused([...rows, themselves], ({ method, body }) => call(method, body, platform));
    const listed = await apiKeys.listApiKeys({ ownerId: theirs.user.id });
    assert.deepEqual(listed.apiKeys, []);
  });

  test("in capitals is the same id, to the record and to the feed of changes too", async () => {
    const rotated = async () => {
      const { id } = await newApiKey();
      await apiKeys.rotateApiKey({ id, overlap });
      return id;
    };
    const rotatedServiceKey = async () => {
      const id = await newServiceKey();
      await serviceKeys.rotateServiceKey({ id, overlap });
      return id;
    };
    const keyId = async () => (await newApiKey()).id;
    const userId = async () => (await newUser()).id;
    const roleId = async () => (await newRole()).id;
    const made: readonly {
      readonly name: string;
      readonly make: () => Promise<string>;
      readonly change: (id: string) => Promise<unknown>;
      readonly tag: string;
    }[] = [
      { name: "RevokeApiKey", make: keyId, change: (id) => apiKeys.revokeApiKey({ id }), tag: "key" },
      {
        name: "UpdateApiKey",
        make: keyId,
        change: (id) => apiKeys.updateApiKey({ id, name: "y" }),
        tag: "key",
      },
      {
        name: "RotateApiKey",
        make: keyId,
        change: (id) => apiKeys.rotateApiKey({ id, overlap }),
        tag: "key",
      },
      { name: "CancelRotation", make: rotated, change: (id) => apiKeys.cancelRotation({ id }), tag: "key" },
      { name: "FinishRotation", make: rotated, change: (id) => apiKeys.finishRotation({ id }), tag: "key" },
      {
        name: "RevokeServiceKey",
        make: newServiceKey,
        change: (id) => serviceKeys.revokeServiceKey({ id }),
        tag: "key",
      },
      {
        name: "UpdateServiceKey",
        make: newServiceKey,
        change: (id) => serviceKeys.updateServiceKey({ id, permissions: { values: ["calls.read"] } }),
        tag: "key",
      },
      {
        name: "RotateServiceKey",
        make: newServiceKey,
        change: (id) => serviceKeys.rotateServiceKey({ id, overlap }),
        tag: "key",
      },
      {
        name: "CancelServiceKeyRotation",
        make: rotatedServiceKey,
        change: (id) => serviceKeys.cancelServiceKeyRotation({ id }),
        tag: "key",
      },
      {
        name: "FinishServiceKeyRotation",
        make: rotatedServiceKey,
        change: (id) => serviceKeys.finishServiceKeyRotation({ id }),
        tag: "key",
      },
      {
        name: "UpdateUser",
        make: userId,
        change: (id) => users.updateUser({ id, disabled: true }),
        tag: "user",
      },
      {
        name: "UpdateOrganization",
        make: async () =>
          idOf((await organizations.createOrganization({ name: "In capitals" })).organization),
        change: (id) => organizations.updateOrganization({ id, suspended: true }),
        tag: "org",
      },
      {
        name: "UpdateRole",
        make: roleId,
        change: (id) => roles.updateRole({ id, name: "in-capitals" }),
        tag: "role",
      },
      { name: "DeleteRole", make: roleId, change: (id) => roles.deleteRole({ id }), tag: "role" },
    ];
    for (const { name, make, change, tag } of made) {
      const id = await make();
      await change(id.toUpperCase());
      const [record] = await query<{ target_id: string }>(
        service.connection,
        "select target_id from audit_events order by id desc limit 1",
      );
      const [feed] = await query<{ tags: string[] }>(
        service.connection,
        "select tags from changes order by id desc limit 1",
      );
      const [first, ...others] = feed?.tags ?? [];
      assert.deepEqual({ name, ...record, first }, { name, target_id: id, first: `${tag}:${id}` });
      assert.ok(others.every((each) => each === each.toLowerCase()));
    }
  });

  test("in capitals is the same owner and the same organization", async () => {
    const [leaving, staying] = [await newUser(), await newUser()];
    const { apiKey } = await service
      .client(ApiKeyService, { [leaving.credential[0]]: leaving.credential[1] })
      .createApiKey({ name: "handed over", permissions: ["calls.read"] });
    const organizationId = service.organizationId.toUpperCase();
    const newOwnerId = staying.id.toUpperCase();
    const ids = { id: leaving.id.toUpperCase(), organizationId, newOwnerId };
    const { handedOverApiKeyIds } = await users.removeMembership(ids);
    assert.deepEqual(handedOverApiKeyIds, [idOf(apiKey)]);
    const owned = await apiKeys.listApiKeys({ organizationId, ownerId: newOwnerId });
    assert.deepEqual(
      owned.apiKeys.map(({ id, ownerId }) => [id, ownerId]),
      [[idOf(apiKey), staying.id]],
    );
    const { path, body } = calls.find(({ name }) => name === "ImportApiKeys") ?? assert.fail();
    const imported = { ...body, organizationId, ownerId: newOwnerId };
    assert.equal(await call(path, imported, platform), "accepted");
    const now = await apiKeys.listApiKeys({ ownerId: staying.id });
    assert.deepEqual(
      now.apiKeys.map(({ imported, ownerId }) => [imported, ownerId]),
      [
        [false, staying.id],
        [true, staying.id],
      ],
    );
    const [record] = await query<{ detail: { owner: object } }>(
      service.connection,
      "select detail from audit_events where action = 'api_key.import'",
    );
    assert.deepEqual(record?.detail.owner, { userId: staying.id });
  });
});

describe("what is gone", () => {
  test("stays as it is: a key that was revoked, a person who left, a role that was deleted", async () => {
    const [apiKey, serviceKey, role] = [await newApiKey(), await newServiceKey(), await newRole()];
    const user = await newUser();
    await apiKeys.rotateApiKey({ id: apiKey.id, overlap });
    await apiKeys.revokeApiKey({ id: apiKey.id });
    await serviceKeys.rotateServiceKey({ id: serviceKey, overlap });
    await serviceKeys.revokeServiceKey({ id: serviceKey });
    await users.removeMembership({ id: user.id });
    await roles.deleteRole({ id: role.id });
    const known = { email: "known@acme.test", password: "correct horse battery" };
    const rows = [
      ["ApiKeyService/UpdateApiKey", { id: apiKey.id, name: "back" }, "KEY_NOT_ACTIVE"],
      ["ApiKeyService/UpdateApiKey", { id: apiKey.id }, "KEY_NOT_ACTIVE"],
      ["ApiKeyService/RotateApiKey", { id: apiKey.id, overlap: "0s" }, "KEY_NOT_ACTIVE"],
      ["ApiKeyService/CancelRotation", { id: apiKey.id }, "KEY_NOT_ACTIVE"],
      ["ApiKeyService/FinishRotation", { id: apiKey.id }, "KEY_NOT_ACTIVE"],
      // And what changes nothing, or only reads, is no error.
      ["ApiKeyService/RevokeApiKey", { id: apiKey.id, reason: "again" }, "accepted"],
      ["ApiKeyService/RevokeOwnApiKey", { apiKey: apiKey.secret, reason: "again" }, "accepted"],
      ["ApiKeyService/GetApiKey", { id: apiKey.id }, "accepted"],
      ["ApiKeyService/GetApiKeyUsage", { id: apiKey.id }, "accepted"],
      ["ServiceKeyService/UpdateServiceKey", { id: serviceKey, neverExpires: true }, "KEY_NOT_ACTIVE"],
      ["ServiceKeyService/RotateServiceKey", { id: serviceKey, overlap: "0s" }, "KEY_NOT_ACTIVE"],
      ["ServiceKeyService/CancelServiceKeyRotation", { id: serviceKey }, "KEY_NOT_ACTIVE"],
      ["ServiceKeyService/FinishServiceKeyRotation", { id: serviceKey }, "KEY_NOT_ACTIVE"],
      ["ServiceKeyService/RevokeServiceKey", { id: serviceKey, reason: "again" }, "accepted"],
      ["ServiceKeyService/GetServiceKey", { id: serviceKey }, "accepted"],
      ["ServiceKeyService/GetServiceKeyUsage", { id: serviceKey }, "accepted"],
      ["UserService/GetUser", { id: user.id }, "NOT_FOUND"],
      ["UserService/UpdateUser", { id: user.id, disabled: false }, "NOT_FOUND"],
      ["UserService/UpdateUser", { id: user.id, role: "owner" }, "NOT_FOUND"],
      ["UserService/RemoveMembership", { id: user.id }, "NOT_FOUND"],
      ["RoleService/UpdateRole", { id: role.id, name: "back" }, "NOT_FOUND"],
      ["RoleService/DeleteRole", { id: role.id }, "NOT_FOUND"],
      ["UserService/CreateUser", { ...known, role: role.name }, "ROLE_UNKNOWN"],
      ["UserService/UpdateUser", { id: service.admin.id, role: role.name }, "ROLE_UNKNOWN"],
    ] as const;
    await assertRefused(
      rows.map(([method, body, outcome], at) => ({ name: `${at} ${method}`, method, body, outcome })),
      ({ method, body }) => call(method, body, platform),
    );
  });

  test("is a rotation that is over, or was never begun", async () => {
    const keys = [
      { prefix: "ApiKeyService", suffix: "Rotation", rotate: "RotateApiKey", id: (await newApiKey()).id },
      {
        prefix: "ServiceKeyService",
        suffix: "ServiceKeyRotation",
        rotate: "RotateServiceKey",
        id: await newServiceKey(),
      },
    ];
    for (const { prefix, suffix, rotate, id } of keys) {
      const [cancel, finish] = [`${prefix}/Cancel${suffix}`, `${prefix}/Finish${suffix}`];
      const begin = () => call(`${prefix}/${rotate}`, { id, overlap: "3600s" }, platform);
      const over = [cancel, finish].map((name) => ({ name, outcome: "ROTATION_NOT_IN_PROGRESS" }));
      const none = () => assertRefused(over, ({ name }) => call(name, { id }, platform));
      await none();
      for (const end of [cancel, finish]) {
        assert.equal(await begin(), "accepted");
        await assertRefused([{ name: "again", outcome: "ROTATION_IN_PROGRESS" }], begin);
        assert.equal(await call(end, { id }, platform), "accepted");
        await none();
      }
      assert.equal(await call(`${prefix}/${rotate}`, { id, overlap: "0s" }, platform), "accepted");
      await none();
    }
  });
});
