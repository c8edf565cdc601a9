import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { query } from "../support/cluster.ts";
import {
  ApiKeyService,
  OrganizationService,
  ServiceKeyService,
  startService,
  UserService,
} from "../support/service.ts";
import { goodCalls } from "./methods.ts";
import { shown } from "./outcomes.ts";
import { callHttp1, type Field, verdictOf } from "./raw-call.ts";
import { refusals } from "./refusals.ts";

const service = await startService();
after(() => service.stop());
const { assertRefused, call } = await refusals(service);
const calls = await goodCalls(service);
const admin = { authorization: `Bearer ${await service.logIn()}` };
const apiKeys = service.client(ApiKeyService, admin);
const serviceKeys = service.client(ServiceKeyService, admin);
const organizations = service.client(OrganizationService, admin);
const users = service.client(UserService, admin);

/** Whoever may do everything, and an administrator of one organization only. */
const platform: Field = ["authorization", admin.authorization];
const ordinary: Field = await newUser(service.organizationId).then(({ credential }) => credential);

async function newUser(organizationId: string) {
  const email = `${randomUUID()}@acme.test`;
  const password = randomUUID();
  const { user } = await users.createUser({ organizationId, email, password, role: "admin" });
  const credential: Field = ["authorization", `Bearer ${await service.logIn(email, password)}`];
  return { id: user?.id ?? assert.fail(), email, password, credential };
}

/** Another organization, with one of each thing. */
const theirs = await otherTenant();

async function otherTenant() {
  const { organization } = await organizations.createOrganization({ name: "Umbrella" });
  const organizationId = organization?.id ?? assert.fail();
  const user = await newUser(organizationId);
  const headers = { [user.credential[0]]: user.credential[1] };
  const { apiKey } = await service
    .client(ApiKeyService, headers)
    .createApiKey({ name: "theirs", permissions: ["calls.read"] });
  return { organizationId, user, apiKeyId: apiKey?.id ?? assert.fail() };
}

/** An id that is one, of nothing. */
const nobody = "0190a5b2-7c1e-7000-8000-0123456789ab";

describe("an id", () => {
  const FOREIGN = [
    { method: "ApiKeyService/GetApiKey", id: theirs.apiKeyId },
    { method: "ApiKeyService/RevokeApiKey", id: theirs.apiKeyId },
    { method: "OrganizationService/GetOrganization", id: theirs.organizationId },
    { method: "UserService/GetUser", id: theirs.user.id },
    { method: "UserService/UpdateUser", id: theirs.user.id, more: { disabled: true } },
  ];
  for (const { method, id, more = {} } of FOREIGN) {
    test(`of somebody else is nobody's to ${method}, to the byte`, async () => {
      const answers = new Set<string>();
      const ids = [nobody, id, id.toUpperCase(), theirs.organizationId, theirs.user.id, theirs.apiKeyId];
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
    const rows = [
      ...FOREIGN.map(({ method }) => method),
      "OrganizationService/UpdateOrganization",
      "ServiceKeyService/RevokeServiceKey",
    ].map((name) => ({ name, outcome: "NOT_FOUND" }));
    await assertRefused(rows, ({ name }) => call(name, { id: nobody }, platform));
  });

  const named = calls.filter(({ body }) => typeof body["organizationId"] === "string");
  for (const { method, path, body } of named.filter(({ method: { name } }) => name !== "IssueToken")) {
    test(`of another organization is refused by ${method.name}, and one of nobody alike`, async () => {
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
    const own = ["ListUsers", "CreateUser", "GetUser", "UpdateUser", "ListApiKeys"];
    const rows = named
      .filter(({ method: { name } }) => own.includes(name))
      .map((good) => ({ ...good, name: good.method.name, outcome: "ORGANIZATION_UNKNOWN" }));
    assert.equal(rows.length, own.length);
    await assertRefused(rows, ({ path, body }) => call(path, { ...body, organizationId: nobody }, platform));
  });

  test("has to be named by an internal key that acts for all, where the call is about one", async () => {
    const rows = named
      .filter(({ method: { name } }) => name !== "IssueToken" && name !== "Authenticate")
      .map((good) => ({ ...good, name: good.method.name, outcome: "ORGANIZATION_REQUIRED" }));
    await assertRefused(rows, ({ path, body }) =>
      call(path, { ...body, organizationId: "" }, ["x-internal-key", service.internalKey]),
    );
  });

  test("in capitals is the same id, to the record and to the feed of changes too", async () => {
    const made = [
      {
        name: "RevokeApiKey",
        id: await apiKeys
          .createApiKey({ name: "x", permissions: ["calls.read"] })
          .then(({ apiKey }) => apiKey?.id),
        change: (id: string) => apiKeys.revokeApiKey({ id }),
        tag: "key",
      },
      {
        name: "RevokeServiceKey",
        id: await serviceKeys
          .createServiceKey({ name: "in-capitals" })
          .then(({ serviceKey }) => serviceKey?.id),
        change: (id: string) => serviceKeys.revokeServiceKey({ id }),
        tag: "key",
      },
      {
        name: "UpdateUser",
        id: await newUser(service.organizationId).then(({ id }) => id),
        change: (id: string) => users.updateUser({ id, disabled: true }),
        tag: "user",
      },
      {
        name: "UpdateOrganization",
        id: await organizations
          .createOrganization({ name: "In capitals" })
          .then(({ organization }) => organization?.id),
        change: (id: string) => organizations.updateOrganization({ id, suspended: true }),
        tag: "org",
      },
    ];
    for (const { name, id = assert.fail(), change, tag } of made) {
      await change(id.toUpperCase());
      const [record] = await query<{ target_id: string }>(
        service.connection,
        "select target_id from audit_events order by id desc limit 1",
      );
      const [feed] = await query<{ tags: string[] }>(
        service.connection,
        "select tags from changes order by id desc limit 1",
      );
      assert.deepEqual({ name, ...record, ...feed }, { name, target_id: id, tags: [`${tag}:${id}`] });
    }
  });
});

describe("a page token", () => {
  const LISTS = [
    { method: "ApiKeyService/ListApiKeys", fields: [platform] },
    { method: "UserService/ListUsers", fields: [platform] },
    { method: "OrganizationService/ListOrganizations", fields: [platform] },
    { method: "ServiceKeyService/ListServiceKeys", fields: [platform] },
  ] as const;

  async function firstToken(method: string, more: object = {}): Promise<string> {
    const body = JSON.stringify({ pageSize: 1, ...more });
    const answer = await callHttp1(service.port, `/latchkey.v1.${method}`, [platform], body);
    return JSON.parse(answer.body.toString()).nextPageToken ?? assert.fail(`${method} has a second page`);
  }

  before(async () => {
    await apiKeys.createApiKey({ name: "one more", permissions: ["calls.read"] });
    await serviceKeys.createServiceKey({ name: "one-more" });
    await newUser(theirs.organizationId);
    await service
      .client(ApiKeyService, { [theirs.user.credential[0]]: theirs.user.credential[1] })
      .createApiKey({ name: "one more", permissions: ["calls.read"] });
  });

  for (const { method, fields } of LISTS) {
    test(`of ${method} is taken whole and unchanged, or not at all`, async () => {
      const good = await firstToken(method);
      assert.equal(await call(method, { pageSize: 1, pageToken: good }, ...fields), "accepted");
      const bytes = Buffer.from(good, "base64url");
      const other = (letter: string) => (letter === "A" ? "B" : "A");
      const tampered = [
        ...[...bytes.keys()].flatMap((at) =>
          [1, 0x80, 0xff].map((bits) => {
            const changed = Buffer.from(bytes);
            changed.writeUInt8(changed.readUInt8(at) ^ bits, at);
            return changed.toString("base64url");
          }),
        ),
        ...[...good].map((letter, at) => good.slice(0, at) + other(letter) + good.slice(at + 1)),
        ...[...good].map((_, at) => good.slice(0, at)).filter((text) => text !== ""),
        ...[...good].map((_, at) => good.slice(at + 1)).filter((text) => text !== ""),
        `${good}A`,
        `A${good}`,
        `${good}=`,
        `${good} `,
        ` ${good}`,
        `${good}\0`,
        good + good,
        good.toLowerCase(),
        randomBytes(32).toString("base64url"),
        Buffer.alloc(32).toString("base64url"),
        "x",
        "0",
        "-1",
        "null",
        ...["' or true --", bytes.toString("hex"), bytes.toString("base64"), nobody, "A".repeat(512)],
      ].filter((text) => text !== good && Buffer.from(text, "base64").toString("base64url") !== "");
      const rows = [...new Set(tampered)].map((text) => ({
        name: shown(text),
        text,
        outcome: "PAGE_TOKEN_INVALID",
      }));
      await assertRefused(rows, ({ text }) => call(method, { pageSize: 1, pageToken: text }, ...fields));
    });
  }

  test("of one list is none of another, nor of another organization's", async () => {
    const organizationId = theirs.organizationId;
    const tokens = [
      ...(await Promise.all(
        LISTS.map(async ({ method }) => ({ of: method, text: await firstToken(method) })),
      )),
      ...(await Promise.all(
        ["ApiKeyService/ListApiKeys", "UserService/ListUsers"].map(async (method) => ({
          of: `${method} of theirs`,
          text: await firstToken(method, { organizationId }),
        })),
      )),
    ];
    const rows = LISTS.flatMap(({ method }) =>
      tokens
        .filter(({ of }) => of !== method)
        .map(({ of, text }) => ({ name: `${of} to ${method}`, method, text, outcome: "PAGE_TOKEN_INVALID" })),
    );
    await assertRefused(rows, ({ method, text }) => call(method, { pageToken: text }, platform));
  });

  test("of another deployment is none of this one's", async () => {
    const stranger = await startService();
    try {
      const strangers = stranger.client(OrganizationService, { "x-internal-key": stranger.internalKey });
      await strangers.createOrganization({ name: "Second" });
      const { nextPageToken } = await strangers.listOrganizations({ pageSize: 1 });
      const rows = [{ name: nextPageToken, outcome: "PAGE_TOKEN_INVALID" }];
      await assertRefused(rows, ({ name }) =>
        call("OrganizationService/ListOrganizations", { pageToken: name }, platform),
      );
    } finally {
      await stranger.stop();
    }
  });
});

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
  const grant = (method: string, permission: string) =>
    call(method, { name: "x", permissions: [permission] }, platform);

  test("that nothing in the catalogue stands for is not granted", async () => {
    const rows = ["ApiKeyService/CreateApiKey", "ServiceKeyService/CreateServiceKey"].flatMap((method) =>
      UNKNOWN.map((permission) => ({
        name: `${method} ${shown(permission)}`,
        method,
        permission,
        outcome: "PERMISSION_UNKNOWN",
      })),
    );
    await assertRefused(rows, ({ method, permission }) => grant(method, permission));
  });

  test("of the platform, or a pattern over Latchkey's own, is not granted to an API key", async () => {
    const catalogue = await query<{ name: string }>(
      service.connection,
      "select name from permissions where scope = 'platform'",
    );
    const rows = [
      ...catalogue.map(({ name }) => name),
      "platform.*",
      "auth.*",
      "auth.users.*",
      "*.api_keys.write",
    ].map((name) => ({ name, outcome: "PERMISSION_UNKNOWN" }));
    await assertRefused(rows, ({ name }) => grant("ApiKeyService/CreateApiKey", name));
  });

  test("that a request needs is one concrete name of the catalogue", async () => {
    const headers = [{ name: "X-API-Key", value: service.apiKey }];
    const rows = [
      ...[...UNKNOWN, "calls.*", "*", "*.read"].map((name) => ({ name, outcome: "PERMISSION_UNKNOWN" })),
      ...["auth.users.read", "platform.users.read"].map((name) => ({ name, outcome: "PERMISSION_DENIED" })),
    ];
    await assertRefused(rows, ({ name }) =>
      call("AuthenticationService/Authenticate", { headers, requiredPermissions: ["calls.read", name] }),
    );
  });
});

test("a role is one that the organization has", async () => {
  const user = (role: string) => ({ email: "new@acme.test", password: "correct horse battery", role });
  const rows = [
    ...["boss", "constructor", "owners", "administrator", "platform"].map((name) => ({
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

  test("is an internal key's name until that key is revoked", async () => {
    const { serviceKey } = await serviceKeys.createServiceKey({ name: "billing" });
    const again = () => call("ServiceKeyService/CreateServiceKey", { name: "billing" }, platform);
    await assertRefused([{ name: "while it is good", outcome: "SERVICE_KEY_NAME_TAKEN" }], again);
    await serviceKeys.revokeServiceKey({ id: serviceKey?.id ?? assert.fail() });
    assert.equal(await again(), "accepted");
  });
});
