import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { cleanup } from "../support/process.ts";
import { reasonOf } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  startService,
  type TestService,
} from "../support/service.ts";
import { until } from "../support/until.ts";
import { join } from "../users/people.ts";
import { field, linesOf, operatorOf } from "./operator.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

describe("latchkey role", { concurrency: 3 }, () => {
  it("creates, lists, changes and deletes a role", async (t) => {
    const operator = operatorOf(t, service);
    const { role } = await operator.asks(["role", "create", "support", "--permission", "calls.read,*.read"]);
    const { id, ...rest } = role;
    assert.deepEqual(rest, {
      organizationId: service.organizationId,
      name: "support",
      permissions: ["*.read", "calls.read"],
      builtIn: false,
    });
    const listed = await operator.lists(["role", "list"]);
    assert.deepEqual(
      listed.slice(0, 4).map(({ name, builtIn }) => [name, builtIn]),
      [
        ["owner", true],
        ["admin", true],
        ["member", true],
        ["viewer", true],
      ],
    );
    assert.deepEqual(
      listed.find((one) => one.id === id),
      role,
    );
    const shown = linesOf(await operator.does(["role", "list"]));
    assert.match(shown[0] ?? "", /^ID +NAME +BUILT IN +PERMISSIONS$/);
    assert.ok(
      shown.some((line) => line.endsWith("support  no        *.read calls.read")),
      shown.join("\n"),
    );

    const { revision, ...renamed } = await operator.asks(["role", "update", id, "--name", "helpdesk"]);
    assert.notEqual(revision, "");
    assert.deepEqual(renamed, { role: { ...role, name: "helpdesk" }, narrowedApiKeys: [] });
    const emptied = await operator.asks(["role", "update", id, "--permission", "none"]);
    assert.deepEqual(emptied.role, { ...role, name: "helpdesk", permissions: [] });
    assert.equal(field(await operator.does(["role", "update", id, "--name", "x"]), "permissions"), "none");

    const deleted = await operator.asks(["role", "delete", id]);
    assert.deepEqual(Object.keys(deleted), ["revision"]);
    assert.match(await operator.fails(["role", "delete", id]), /^NOT_FOUND: /);
    const viewer = listed.find(({ name }) => name === "viewer");
    assert.match(await operator.fails(["role", "delete", viewer.id]), /^ROLE_BUILT_IN: /);
  });

  it("tells which keys may do less, now that the role may", async (t) => {
    const operator = operatorOf(t, service);
    const { role } = await operator.asks([
      "role",
      "create",
      "caller",
      "--permission",
      "calls.*,auth.api_keys.write",
    ]);
    const user = {
      email: "caller@acme.test",
      displayName: "Caller",
      role: "caller",
      password: "correct horse battery",
    };
    await join(service, { authorization: `Bearer ${await service.logIn()}` }, user);
    const token = await service.logIn(user.email, user.password);
    const { apiKey } = await service
      .client(ApiKeyService, { authorization: `Bearer ${token}` })
      .createApiKey({ name: "narrowed", permissions: ["calls.read", "calls.write"] });

    const args = ["role", "update", role.id, "--permission"];
    const answer = await operator.asks([...args, "calls.read,auth.api_keys.write"]);
    assert.deepEqual(answer.narrowedApiKeys, [
      { id: apiKey?.id, name: "narrowed", lostPermissions: ["calls.write"] },
    ]);
    const shown = linesOf(await operator.does([...args, "auth.api_keys.write"]));
    assert.match(shown.at(-2) ?? "", /^NARROWED KEY +NAME +HAS LOST$/);
    assert.match(shown.at(-1) ?? "", new RegExp(`^${apiKey?.id}  narrowed  calls\\.read$`));
    assert.match(await operator.fails(["role", "delete", role.id]), /^ROLE_IN_USE: /);
  });
});

describe("latchkey permission", { concurrency: 3 }, () => {
  it("defines permissions of both scopes, and lists the catalogue", async (t) => {
    const operator = operatorOf(t, service);
    const define = ["permission", "define"];
    const defined = await operator.asks([...define, "invoices.read", "--description", "Read invoices"]);
    assert.deepEqual(defined.permission, {
      name: "invoices.read",
      scope: "PERMISSION_SCOPE_ORGANIZATION",
      description: "Read invoices",
    });
    const platform = await operator.does([...define, "fleet.move", "--scope", "platform"]);
    assert.equal(field(platform, "scope"), "platform");
    const names = (await operator.lists(["permission", "list"])).map(({ name }) => name);
    assert.deepEqual(names, names.toSorted());
    assert.ok(names.includes("invoices.read") && names.includes("fleet.move"));
    const shown = await operator.does(["permission", "list"]);
    assert.match(shown, /^NAME +SCOPE +DESCRIPTION\n/);
    assert.match(shown, /^invoices\.read +organization +Read invoices$/m);
    assert.match(await operator.fails([...define, "auth.everything"]), /^PERMISSION_RESERVED: /);
  });
});

describe("latchkey service-key", { concurrency: 3 }, () => {
  it("leads an internal key through its life", async (t) => {
    const operator = operatorOf(t, service);
    const asks = (...args: string[]) => operator.asks(["service-key", ...args]);
    const created = await asks(
      ...["create", "billing", "--permission", "auth.authenticate"],
      ...["--expires", "2099-01-31", "--cidr", "127.0.0.0/8"],
    );
    const { serviceKey, secret } = created;
    const { id } = serviceKey;
    assert.deepEqual(
      [serviceKey.name, serviceKey.permissions, serviceKey.allowedCidrs, serviceKey.expireTime],
      ["billing", ["auth.authenticate"], ["127.0.0.0/8"], "2099-01-31T00:00:00Z"],
    );
    const use = (internalKey: string) =>
      reasonOf(service.client(AuthenticationService, { "x-internal-key": internalKey }).whoAmI({}));
    assert.deepEqual(await asks("get", id), { serviceKey });
    assert.deepEqual(
      (await operator.lists(["service-key", "list"])).find((one) => one.id === id),
      serviceKey,
    );
    assert.match(
      await operator.does(["service-key", "list"]),
      /^ID +NAME +STATE +KEY +EXPIRES +PERMISSIONS\n.*test +active .* \*\n(.*\n)*.*billing +active .*2099-01-31T00:00:00Z +auth\.authenticate$/m,
    );

    const updated = await asks("update", id, "--expires", "never", "--cidr", "any", "--permission", "auth.*");
    const { expireTime: _, ...unbound } = serviceKey;
    assert.deepEqual(updated.serviceKey, { ...unbound, allowedCidrs: [], permissions: ["auth.*"] });

    // From here on its last use may be told at any time.
    assert.equal(await use(secret), undefined);
    const { secret: second } = await asks("rotate", id, "--overlap", "1h");
    assert.deepEqual([await use(secret), await use(second)], [undefined, undefined]);
    await asks("cancel-rotation", id);
    assert.notEqual(await use(second), undefined);
    const { secret: third } = await asks("rotate", id, "--overlap", "1h");
    const finished = await operator.does(["service-key", "finish-rotation", id, "--yes"]);
    assert.equal(field(finished, "key"), third.slice(0, third.lastIndexOf("_")));
    assert.deepEqual([await use(secret), await use(third)], ["SERVICE_KEY_ROTATED", undefined]);
    await until("its uses are known", async () => (await asks("usage", id)).days.length > 0);

    const { serviceKey: revoked } = await asks("revoke", id, "--reason", "gone");
    assert.equal(revoked.revokeReason, "gone");
    assert.equal(await use(third), "SERVICE_KEY_REVOKED");
  });

  it("is told of a new one by which header it is sent", async (t) => {
    const command = operatorOf(t, service).start([
      ...["service-key", "create", "shown", "--permission", "auth.authenticate"],
    ]);
    assert.equal((await command.ended()).code, 0, command.stderr);
    assert.match(field(command.stdout, "secret") ?? "", /^sk_/);
    assert.match(command.stderr, /^latchkey: the secret is told this once and .* X-Internal-Key\n$/);
  });
});

describe("latchkey org", { concurrency: 3 }, () => {
  it("creates, gets and lists organizations", async (t) => {
    const operator = operatorOf(t, service);
    const { organization } = await operator.asks(["org", "create", "Umbrella Ltd"]);
    assert.deepEqual(
      { ...organization, id: "", createTime: "" },
      { id: "", name: "Umbrella Ltd", suspended: false, createTime: "" },
    );
    assert.deepEqual(await operator.asks(["org", "get", organization.id]), { organization });
    assert.deepEqual(
      (await operator.lists(["org", "list"])).find(({ id }) => id === organization.id),
      organization,
    );
    assert.equal((await operator.lists(["org", "list", "--limit", "1"])).length, 1);
    assert.match(await operator.fails(["org", "create", "UMBRELLA ltd"]), /^ORGANIZATION_NAME_TAKEN: /);
  });

  it("suspends and resumes an organization", async (t) => {
    const own = await startService();
    cleanup(t).defer(() => own.stop());
    const operator = operatorOf(t, own);
    const use = () =>
      reasonOf(
        own
          .client(OrganizationService, { "x-api-key": own.apiKey })
          .getOrganization({ id: own.organizationId }),
      );
    assert.equal(field(await operator.does(["org", "suspend", own.organizationId]), "state"), "suspended");
    assert.equal(await use(), "ORGANIZATION_SUSPENDED");
    assert.equal(field(await operator.does(["org", "resume", own.organizationId]), "state"), "active");
    assert.notEqual(await use(), "ORGANIZATION_SUSPENDED");
  });
});

describe("latchkey explain", { concurrency: 3 }, () => {
  it("tells each step, and the decision that it led to", async (t) => {
    const operator = operatorOf(t, service);
    const key = ["-H", `X-API-Key: ${service.apiKey}`];
    const accepted = await operator.does(["explain", ...key, "--require", "calls.read"]);
    assert.match(accepted, /^ +STEP +FOUND\npassed +\w/);
    assert.doesNotMatch(accepted, /^failed/m);
    assert.equal(field(accepted, "organization"), `acme (${service.organizationId})`);
    const document = await operator.asks(["explain", ...key]);
    assert.equal(document.allowed, true);
    assert.ok(document.steps.every(({ passed }: { passed: boolean }) => passed));
    assert.equal(document.response.principal.type, "PRINCIPAL_TYPE_API_KEY");

    for (const [options, line] of [
      [["--require", "auth.users.read"], /^refused +PERMISSION_DENIED: .*\nmissing +auth\.users\.read$/m],
      [["--require-any", "auth.users.read"], /^refused +PERMISSION_DENIED: /m],
    ] as const) {
      const refused = operator.start(["explain", ...key, ...options]);
      assert.deepEqual(await refused.ended(), { code: 2, signal: null }, refused.stderr);
      assert.equal(refused.stdout.match(/^failed /gm)?.length, 1);
      assert.match(refused.stdout, line);
      assert.ok(!refused.stdout.includes(service.apiKey));
    }
    const asJson = operator.start(["explain", "--json", "-H", "Accept: */*"]);
    assert.equal((await asJson.ended()).code, 2);
    assert.equal(JSON.parse(asJson.stdout).reason, "CREDENTIAL_MISSING");
  });
});

describe("latchkey signing-key", { concurrency: 3 }, () => {
  it("lists, rotates and revokes", async (t) => {
    const operator = operatorOf(t, service);
    const states = async () =>
      (await operator.lists(["signing-key", "list"])).map(({ state }) =>
        state.replace("SIGNING_KEY_STATE_", "").toLowerCase(),
      );
    assert.deepEqual(await states(), ["active"]);
    const token = await service.logIn();
    const [first] = await operator.lists(["signing-key", "list"]);
    const { signingKey: next } = await operator.asks(["signing-key", "rotate"]);
    assert.deepEqual([next.algorithm, next.state], ["ES256", "SIGNING_KEY_STATE_NEXT"]);
    assert.deepEqual(await states(), ["active", "next"]);
    const shown = linesOf(await operator.does(["signing-key", "list"]));
    assert.match(shown[0] ?? "", /^ID +ALGORITHM +STATE +SIGNS FROM +UNTIL +PUBLISHED UNTIL$/);
    assert.match(shown[1] ?? "", new RegExp(`^${first.id} +ES256 +active +\\S+Z +\\S+Z +\\S+Z$`));
    assert.match(shown[2] ?? "", new RegExp(`^${next.id} +ES256 +next +\\S+Z$`));
    assert.equal(field(await operator.does(["signing-key", "rotate"]), "id"), next.id);

    const revoked = await operator.does(["signing-key", "revoke", first.id, "--reason", "leaked"]);
    assert.equal(field(revoked, "state"), "revoked");
    assert.match(field(revoked, "revoked") ?? "", /Z \(leaked\)$/);
    assert.deepEqual(await states(), ["revoked", "active"]);
    const headers = [{ name: "Authorization", value: `Bearer ${token}` }];
    assert.equal(
      await reasonOf(service.client(AuthenticationService).authenticate({ headers })),
      "TOKEN_REVOKED",
    );
    assert.match(await operator.fails(["signing-key", "revoke", "nobodys"]), /^NOT_FOUND: /);
    assert.match(await operator.mistypes(["signing-key", "revoke"]), /missing required argument 'id'/);
    const weak = operatorOf(t, service, service.apiKey);
    assert.match(await weak.fails(["signing-key", "rotate"]), /^PERMISSION_DENIED: /);
  });
});
