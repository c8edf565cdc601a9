import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { create, type DescMethod, type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import fc from "fast-check";
import { v4 as uuidv4 } from "uuid";
import type { AuthenticateResponse } from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { SigningKeyService } from "../../src/gen/latchkey/v1/signing_key_pb.ts";
import type { Catalogue } from "../../src/permissions/permission-pattern.ts";
import { accessRuleOf } from "../../src/server/access-rules.ts";
import { SERVICES } from "../../src/server/routes.ts";
import { plainRights } from "../permissions/plain-permissions.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  ServiceKeyService,
  startService,
  type TestService,
} from "../support/service.ts";
import { until } from "../support/until.ts";
import { keyText } from "../wire/key-text.ts";
import { type Leaf, leavesOf, putAlone } from "../wire/leaves.ts";
import { apiKey, bearer, type Headers, internalKey, makeWorld, type World } from "./actors.ts";
import { addApiKey, addOrganization, addRole, addServiceKey, addUser } from "./cast.ts";
import { everythingElse, requireEveryTable } from "./everything-else.ts";
import { type Foreign, makeForeign } from "./foreign.ts";
import { isProof, requestOf } from "./methods.ts";
import { freshId, standingId } from "./targets.ts";

let service: TestService;
let world: World;
let catalogue: Catalogue;
let foreign: Foreign;
/** An owner of acme. */
let owner: { id: string; headers: Headers };

before(async () => {
  service = await startService();
  world = await makeWorld(service);
  foreign = await makeForeign(world);
  const { id, email } = await addUser(service.core, {
    organizationId: world.acme.id,
    role: "owner",
    password: world.password,
  });
  owner = { id, headers: bearer(await service.logIn(email, world.password.text)) };
  const rows = await run<{ name: string; scope: string }>("select name, scope from permissions");
  const ofScope = (scope: string) => rows.filter((row) => row.scope === scope).map(({ name }) => name);
  catalogue = { organization: ofScope("organization"), platform: ofScope("platform") };
});
after(() => service.stop());

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

async function rightsOf(headers: Headers): Promise<AuthenticateResponse> {
  const list = Object.entries(headers).map(([name, value]) => ({ name, value }));
  return await service.client(AuthenticationService).authenticate({ headers: list });
}

/** Everything that is not acme's: the other tenant, and what belongs to the platform. */
async function notAcmes() {
  return await everythingElse(service.connection, {
    tenant: world.acme,
    callers: [owner.id],
    others: world.globex,
    marks: foreign.marks,
  });
}

/** The methods whose rule asks who calls. What a message itself proves is another matter. */
const everyMethod: readonly DescMethod[] = SERVICES.flatMap(({ methods }) => methods);
const guarded = everyMethod.filter((method) => {
  const { kind } = accessRuleOf(method);
  return kind !== "public" && kind !== "possession";
});

/** Words for people, for whoever remembers, and proofs need not be tried with everything. */
const FREE = new Set([
  ...["name", "displayName", "description", "reason", "entries", "environment", "idempotencyKey"],
  ...["password", "currentPassword", "newPassword"],
]);

/** Each way in which a text can be the value of a field. */
function asValues({ kind, isList }: Leaf, text: string): JsonValue[] {
  switch (kind) {
    case "string":
      return [isList ? [text] : text];
    case "bytes":
      return [Buffer.from(text).toString("base64")];
    case "map":
      return [Object.fromEntries([[text, "x"]]), { a: text }];
    default:
      return [];
  }
}

interface Attempt {
  readonly what: string;
  readonly method: DescMethod;
  readonly body: () => Promise<JsonObject>;
  /** What the answer may tell, besides what was sent. */
  readonly known: readonly string[];
}

async function carryOut({ what, method, body, known }: Attempt, headers: Headers): Promise<string> {
  const sent = JSON.stringify(await body());
  const response = await fetch(`${service.url}/${method.parent.typeName}/${method.name}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: sent,
  });
  const answer = await response.text();
  const told = foreign.marks.filter((mark) => answer.includes(mark) && !sent.includes(mark));
  assert.deepEqual(
    told.filter((mark) => !known.includes(mark)),
    [],
    `${what}: ${answer}`,
  );
  for (const [, organizationId] of answer.matchAll(/"organizationId":"([^"]*)"/g)) {
    assert.equal(organizationId, world.acme.id, `${what}: ${answer}`);
  }
  return answer;
}

/** Several at once. */
async function carryOutAll(attempts: readonly Attempt[], headers: Headers): Promise<void> {
  const left = attempts.values();
  const work = async () => {
    for (const attempt of left) {
      await carryOut(attempt, headers);
    }
  };
  await Promise.all(Array.from({ length: 8 }, work));
}

/** A good call. Of acme's own things it is about a new one, since what is told of one may stay with it. */
async function goodBody(method: DescMethod): Promise<JsonObject> {
  const idFor = async () =>
    method.parent === ServiceKeyService || method.parent === SigningKeyService
      ? standingId(method, world.acme, world)
      : await freshId(method, world.acme, world);
  const id = method.input.field["id"] && { id: await idFor() };
  const good = create(method.input, { ...requestOf(method, world), ...id } as never);
  return toJson(method.input, good) as JsonObject;
}

function attemptsAt(method: DescMethod, values: readonly string[]): Attempt[] {
  const isProven = accessRuleOf(method).kind === "possession" || isProof(method, requestOf(method, world));
  return [...leavesOf(method.input)].flatMap((leaf) => {
    const name = leaf.path.at(-1) ?? "";
    // Whoever knows a person's email and their password is that person.
    if (isProven && (name === "email" || FREE.has(name))) {
      return [];
    }
    return (FREE.has(name) ? values.slice(0, 3) : values).flatMap((value) =>
      asValues(leaf, value).map((given) => ({
        what: `${method.name} with ${leaf.path.join(".")}: ${value}`,
        method,
        body: async () => putAlone(method.input, await goodBody(method), leaf.path, given),
        // Whoever knows an email is told the id that goes with it.
        known: name === "email" ? world.globex.peopleIds : [],
      })),
    );
  });
}

test("an owner reaches no other tenant and no part of the platform, by any field of any method", async () => {
  const before = await notAcmes();
  let calls = 0;
  // What reads goes first and what creates goes last: that leaves these values in acme's own things.
  const turnOf = ({ idempotency, name }: DescMethod) =>
    idempotency === Idempotency.NO_SIDE_EFFECTS ? 0 : name.startsWith("Create") ? 2 : 1;
  for (const method of everyMethod.toSorted((a, b) => turnOf(a) - turnOf(b))) {
    const attempts = attemptsAt(method, foreign.values);
    await carryOutAll(attempts, owner.headers);
    calls += attempts.length;
    assert.deepEqual(await notAcmes(), before, `${method.name} changed what is not acme's`);
  }
  assert.ok(calls > 1500, String(calls));
});

test("what an owner asks about others' credentials, be it that they hold one, tells them nothing", async () => {
  const { acme, globex, password } = world;
  const theirToken = await service.logIn(globex.member.email, password.text);
  const before = await notAcmes();
  const forged = foreign.lookupIds.flatMap((lookupId) =>
    ["ak", "sk"].map((prefix) => keyText({ prefix, lookupId, secret: "0".repeat(43) })),
  );
  const texts = [globex.apiKey, foreign.importedKey, service.internalKey, theirToken, ...forged];
  const explain = AuthenticationService.method.explain;
  const attempts = texts.flatMap((text) =>
    [
      ["X-API-Key", text],
      ["Authorization", `Bearer ${text}`],
      ["X-Internal-Key", text],
    ].flatMap(([name, value]) =>
      [
        { headers: [{ name, value }] },
        { headers: [{ name, value }], organizationId: acme.id },
        { headers: [{ name, value }], organizationId: globex.id },
        {
          headers: [
            { name, value },
            { name: "X-Org-Id", value: globex.id },
          ],
        },
        { headers: [{ name, value }], requiredPermissions: ["calls.read"] },
      ].map(
        (request): Attempt => ({
          what: `Explain ${JSON.stringify(request)}`,
          method: explain,
          body: async () => ({ request }) as JsonObject,
          known: [],
        }),
      ),
    ),
  );
  for (const attempt of attempts) {
    const told = JSON.parse(await carryOut(attempt, owner.headers));
    const isOfAcme = told.response?.organization?.id === acme.id;
    assert.ok(told.allowed !== true || isOfAcme, `${attempt.what}: ${JSON.stringify(told)}`);
  }
  // What is not a use of a key does not count as one.
  const { text } = await addApiKey(service.core, {
    organizationId: acme.id,
    owner: { userId: owner.id },
    permissions: ["calls.read"],
  });
  await rightsOf(apiKey(text));
  const lookupId = text.split("_")[1];
  await until("uses are written down", async () => {
    return (await run("select from key_usage where lookup_id = $1", lookupId)).length > 0;
  });
  assert.deepEqual(await notAcmes(), before);
});

test("every table of the database was thought of", () => requireEveryTable(service.connection));

test("whatever keys an owner made, none holds anything of the platform, or acts for another organization", async () => {
  const { acme } = world;
  const keys = service.client(ApiKeyService, owner.headers);
  for (const permission of [
    "*",
    "*.write",
    "auth.users.write",
    ...catalogue.platform,
    "platform.*",
    "*.*",
    "auth.*",
  ]) {
    const asked = { name: "key", permissions: [permission] };
    const made = await keys.createApiKey(asked).catch(() => undefined);
    const modest = await keys.createApiKey({ ...asked, permissions: ["calls.read"] });
    const change = { id: modest.apiKey?.id ?? "", permissions: { values: [permission] } };
    await keys.updateApiKey(change).catch(() => undefined);
    for (const { secret, apiKey: key } of [modest, ...(made ? [made] : [])]) {
      assert.equal(key?.creatorId, owner.id, "whoever made it is who called, not who was named");
      const { organization, permissions, allOrganizations } = await rightsOf(apiKey(secret));
      assert.equal(organization?.id, acme.id);
      assert.equal(allOrganizations, false);
      assert.deepEqual(
        permissions.filter((name) => name.startsWith("platform.")),
        [],
      );
    }
  }
});

test("a field that the contract does not have is refused, and reaches nothing", async () => {
  const before = await notAcmes();
  const { acme, globex } = world;
  const extras: Record<string, unknown>[] = [
    { ownerUserId: globex.member.id },
    { owner_user_id: globex.member.id },
    { creatorId: globex.member.id },
    { platformRole: "administrator" },
    { platform_role: "administrator" },
    { passwordHash: "x" },
    { revokeTime: null },
    { organizationID: globex.id },
    { $or: [{}] },
    { constructor: { prototype: { isAdmin: true } } },
    { prototype: {} },
    { "id; drop table users": 1 },
  ];
  const texts = ['"__proto__":{"organizationId":"x"}', '"toString":"x"'];
  // What is sent to a stream is another matter.
  for (const method of guarded.filter(({ methodKind }) => methodKind === "unary")) {
    const base = method.input.field["id"] ? `"id":"${acme.member.id}",` : "";
    for (const extra of [...extras.map((extra) => JSON.stringify(extra).slice(1, -1)), ...texts]) {
      const response = await fetch(`${service.url}/${method.parent.typeName}/${method.name}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...owner.headers },
        body: `{${base}${extra}}`,
      });
      const { code } = (await response.json()) as { code: string };
      const isAllowed = code === "invalid_argument" || code === "permission_denied";
      assert.ok(isAllowed && response.status >= 400, `${method.name} {${base}${extra}}: ${code}`);
    }
  }
  assert.equal(({} as Record<string, unknown>)["isAdmin"], undefined);
  assert.deepEqual(await notAcmes(), before);
});

test("identity headers that a client forges change nothing about who they are", async () => {
  const client = (headers: Headers) => service.client(AuthenticationService, headers).whoAmI({});
  const honest = await client(owner.headers);
  const forged = {
    "x-latchkey-principal": service.admin.id,
    "x-latchkey-organization": world.globex.id,
    "x-latchkey-permissions": "platform.users.write",
    "x-latchkey-caller": service.internalKey,
    "x-user-id": service.admin.id,
    "x-forwarded-for": "203.0.113.7",
    "x-forwarded-user": service.admin.email,
    "x-real-ip": "203.0.113.7",
    forwarded: "for=203.0.113.7",
  };
  assert.deepEqual(await client({ ...owner.headers, ...forged }), honest);
});

test("the address that a key is bound to is the connection's, whatever headers say", async () => {
  const bound = await addApiKey(service.core, {
    organizationId: world.acme.id,
    owner: { userId: owner.id },
    permissions: ["auth.api_keys.read"],
    allowedCidrs: ["203.0.113.0/24"],
  });
  for (const name of ["x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip", "true-client-ip"]) {
    const headers = {
      ...apiKey(bound.text),
      [name]: name === "forwarded" ? "for=203.0.113.7" : "203.0.113.7",
    };
    await refusedWith("CLIENT_ADDRESS_DENIED", service.client(ApiKeyService, headers).listApiKeys({}));
  }
});

const texts = () =>
  fc.oneof(
    fc.constantFrom(...catalogue.organization, ...catalogue.platform),
    fc.constantFrom(
      "*",
      "calls.*",
      "*.read",
      "*.write",
      "auth.*",
      "auth.users.*",
      "platform.*",
      "*.users.write",
    ),
  );
const lists = () =>
  fc.oneof(fc.constant<string[]>(["*"]), fc.uniqueArray(texts(), { minLength: 1, maxLength: 6 }));
const shortLists = () => fc.uniqueArray(texts(), { minLength: 1, maxLength: 2 });

test("what an API key may do is what it was granted and its creator holds now: no more, and no less", async () => {
  const organizationId = await addOrganization(service.core);
  await addRole(service.core, { organizationId, name: "changing", permissions: [] });
  const { password } = world;
  const user = await addUser(service.core, {
    organizationId,
    role: "changing",
    password,
    platformRole: "administrator",
  });
  const internal = await addServiceKey(service.core, { permissions: [] });
  const kinds = [
    {
      grantee: "role",
      key: await addApiKey(service.core, { organizationId, owner: { userId: user.id }, permissions: [] }),
    },
    {
      grantee: "service-key",
      key: await addApiKey(service.core, {
        organizationId,
        owner: { serviceKeyId: internal.id },
        permissions: [],
      }),
    },
  ] as const;
  await fc.assert(
    fc.asyncProperty(lists(), lists(), async (granted, held) => {
      await run(
        "update roles set permissions = $1 where organization_id = $2 and name = 'changing'",
        held,
        organizationId,
      );
      await run("update service_keys set permissions = $1 where id = $2", held, internal.id);
      for (const { grantee, key } of kinds) {
        await run("update api_keys set permissions = $1 where id = $2", granted, key.id);
        const expected = plainRights(granted, "api-key", catalogue).intersection(
          plainRights(held, grantee, catalogue),
        );
        const { permissions } = await rightsOf(apiKey(key.text));
        assert.deepEqual(permissions, [...expected].sort(), grantee);
      }
    }),
    { numRuns: 40 },
  );
});

test("whoever makes a key gives it no more than they hold, and it loses what they lose", async () => {
  const organizationId = await addOrganization(service.core);
  await addRole(service.core, { organizationId, name: "changing", permissions: [] });
  const { email } = await addUser(service.core, {
    organizationId,
    role: "changing",
    password: world.password,
  });
  const internal = await addServiceKey(service.core, { permissions: [] });
  const creators: readonly (readonly [string, Headers])[] = [
    ["a user", bearer(await service.logIn(email, world.password.text))],
    ["an internal key", internalKey(internal.text, organizationId)],
  ];
  const hold = async (permissions: readonly string[]) => {
    await run(
      "update roles set permissions = $1 where organization_id = $2 and name = 'changing'",
      permissions,
      organizationId,
    );
    await run("update service_keys set permissions = $1 where id = $2", permissions, internal.id);
  };
  let made = 0;
  await fc.assert(
    fc.asyncProperty(lists(), shortLists(), lists(), async (held, asked, later) => {
      for (const [who, headers] of creators) {
        await hold([...held, "auth.api_keys.write"]);
        const mine = new Set((await rightsOf(headers)).permissions);
        const answer = await service
          .client(ApiKeyService, headers)
          .createApiKey({ name: "key", permissions: asked })
          .catch(() => undefined);
        const beyond = !plainRights(asked, "api-key", catalogue).isSubsetOf(mine);
        const unknown = asked.some((text) => plainRights([text], "api-key", catalogue).size === 0);
        const refused = beyond || unknown;
        assert.equal(answer === undefined, refused, `${who} who holds ${held} asks for ${asked}`);
        if (answer !== undefined) {
          made++;
          const effective = new Set((await rightsOf(apiKey(answer.secret))).permissions);
          assert.deepEqual(effective, plainRights(asked, "api-key", catalogue));
          await hold(later);
          const narrowed = new Set((await rightsOf(apiKey(answer.secret))).permissions);
          assert.ok(narrowed.isSubsetOf(new Set((await rightsOf(headers)).permissions)), who);
        }
      }
    }),
    { numRuns: 25 },
  );
  assert.ok(made > 3, "some keys were made");
});

test("a key ends with whoever made it: disabled, removed from their consent, revoked, expired", async () => {
  const organizationId = await addOrganization(service.core);
  const user = await addUser(service.core, { organizationId, role: "admin", password: world.password });
  const internal = await addServiceKey(service.core, { permissions: ["*"] });
  const ofUser = await addApiKey(service.core, {
    organizationId,
    owner: { userId: user.id },
    permissions: ["*"],
  });
  const ofService = await addApiKey(service.core, {
    organizationId,
    owner: { serviceKeyId: internal.id },
    permissions: ["*"],
  });
  const ends: readonly (readonly [string, string, string])[] = [
    [ofUser.text, "update memberships set disable_time = now() where user_id = $1", user.id],
    [
      ofUser.text,
      "update memberships set disable_time = null, accept_time = null where user_id = $1",
      user.id,
    ],
    [ofService.text, "update service_keys set revoke_time = now() where id = $1", internal.id],
    [
      ofService.text,
      "update service_keys set revoke_time = null, expire_time = now() where id = $1",
      internal.id,
    ],
  ];
  for (const [text, sql, id] of ends) {
    await run(sql, id);
    await refusedWith("API_KEY_CREATOR_INACTIVE", rightsOf(apiKey(text)));
  }
});

test("a key that makes keys gives no more than it holds itself, though its owner holds more", async () => {
  const organizationId = world.acme.id;
  const permissions = ["auth.api_keys.write", "calls.read"];
  const parent = await addApiKey(service.core, { organizationId, owner: { userId: owner.id }, permissions });
  const client = service.client(ApiKeyService, apiKey(parent.text));
  for (const asked of ["calls.write", "auth.users.write", "calls.*", "*", "*.read"]) {
    const call = client.createApiKey({ name: "child", permissions: [asked] });
    await refusedWith("PERMISSION_NOT_HELD", call);
  }
  const child = await client.createApiKey({ name: "child", permissions: ["calls.read"] });
  assert.equal(child.apiKey?.creatorId, parent.id);
  // It belongs to whoever the key belongs to, and ends with them.
  assert.deepEqual((await rightsOf(apiKey(child.secret))).permissions, ["calls.read"]);
});

test("a key that is revoked takes with it every key that was made with it, and no other", async () => {
  const { acme } = world;
  const permissions = ["auth.api_keys.write", "platform.service_keys.write", "calls.read"];
  const of = { organizationId: acme.id, owner: { userId: owner.id } };
  const keys = service.client(ApiKeyService, owner.headers);
  const serviceKeys = service.client(ServiceKeyService, internalKey(service.internalKey));

  const parent = await addApiKey(service.core, {
    ...of,
    permissions: permissions.filter((name) => !name.startsWith("p")),
  });
  const sibling = await addApiKey(service.core, { ...of, permissions: ["calls.read"] });
  const asked = { name: "made", permissions: ["auth.api_keys.write", "calls.read"] };
  const child = await service.client(ApiKeyService, apiKey(parent.text)).createApiKey(asked);
  const grandchild = await service.client(ApiKeyService, apiKey(child.secret)).createApiKey(asked);
  await keys.revokeApiKey({ id: parent.id, reason: "leaked" });
  for (const text of [parent.text, child.secret, grandchild.secret]) {
    await refusedWith("API_KEY_REVOKED", rightsOf(apiKey(text)));
  }
  await rightsOf(apiKey(sibling.text));

  const root = await addServiceKey(service.core, { permissions });
  const made = await service
    .client(ServiceKeyService, internalKey(root.text))
    .createServiceKey({ name: uuidv4(), permissions });
  const last = await service
    .client(ServiceKeyService, internalKey(made.secret))
    .createServiceKey({ name: uuidv4(), permissions });
  const ofLast = await service
    .client(ApiKeyService, internalKey(last.secret, acme.id))
    .createApiKey({ name: "made", permissions: ["calls.read"] });
  await serviceKeys.revokeServiceKey({ id: root.id, reason: "leaked" });
  for (const text of [root.text, made.secret, last.secret]) {
    await refusedWith("SERVICE_KEY_REVOKED", rightsOf(internalKey(text)));
  }
  await refusedWith("API_KEY_CREATOR_INACTIVE", rightsOf(apiKey(ofLast.secret)));
  await rightsOf(internalKey(service.internalKey));
});

test("a key that is revoked while it makes another leaves none behind", async () => {
  const { acme } = world;
  let hold: { begun: () => void; until: Promise<void> } | undefined;
  // This replica stops between the decision about the caller and the transaction that follows from it.
  const slow = await startService({
    beside: service,
    wrapCore: ({ storage, ...core }) => ({
      ...core,
      storage: {
        ...storage,
        fork() {
          const em = storage.fork();
          const original = em.transactional.bind(em);
          em.transactional = async (...given: Parameters<typeof em.transactional>) => {
            hold?.begun();
            await hold?.until;
            return (await original(...given)) as never;
          };
          return em;
        },
      },
    }),
  });
  try {
    const of = { organizationId: acme.id, owner: { userId: owner.id } };
    const parent = await addApiKey(service.core, {
      ...of,
      permissions: ["auth.api_keys.write", "calls.read"],
    });
    const internal = await addServiceKey(service.core, {
      permissions: ["platform.service_keys.write", "calls.read"],
    });
    const cases = [
      {
        maker: slow.client(ApiKeyService, apiKey(parent.text)),
        header: "x-api-key",
        revoke: () => service.client(ApiKeyService, owner.headers).revokeApiKey({ id: parent.id }),
      },
      {
        maker: slow.client(ServiceKeyService, internalKey(internal.text)),
        header: "x-internal-key",
        revoke: () =>
          service
            .client(ServiceKeyService, internalKey(service.internalKey))
            .revokeServiceKey({ id: internal.id }),
      },
    ];
    for (const { maker, header, revoke } of cases) {
      const [begun, revoked] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      hold = { begun: begun.resolve, until: revoked.promise };
      const made = madeBy(maker, {});
      await begun.promise;
      await revoke();
      revoked.resolve();
      const secret = await made;
      if (secret !== undefined) {
        const headers = [{ name: header, value: secret }];
        const reason = await reasonOf(service.client(AuthenticationService).authenticate({ headers }));
        assert.notEqual(reason, undefined, `${header}: the child of a key that was revoked is good`);
      }
    }
  } finally {
    await slow.stop();
  }
});

/** What somebody makes who is bound by more than permissions. */
async function madeBy(
  keys: Client<typeof ApiKeyService> | Client<typeof ServiceKeyService>,
  more: object,
): Promise<string | undefined> {
  const asked = { name: uuidv4(), permissions: ["calls.read"], ...more };
  const call = "createApiKey" in keys ? keys.createApiKey(asked) : keys.createServiceKey(asked);
  return await call.then(
    ({ secret }) => secret,
    () => undefined,
  );
}

test("a key that is bound to addresses makes no key that is good elsewhere", async () => {
  const allowedCidrs = ["127.0.0.0/8"];
  const permissions = ["auth.api_keys.write", "platform.service_keys.write", "calls.read"];
  const own = { organizationId: world.acme.id, owner: { userId: owner.id } };
  const parent = await addApiKey(service.core, {
    ...own,
    permissions: permissions.filter((name) => !name.startsWith("p")),
    allowedCidrs,
  });
  const internal = await addServiceKey(service.core, { permissions, allowedCidrs });
  const makers = [
    [service.client(ApiKeyService, apiKey(parent.text)), "x-api-key"],
    [service.client(ServiceKeyService, internalKey(internal.text)), "x-internal-key"],
  ] as const;
  for (const [maker, name] of makers) {
    for (const more of [
      {},
      { allowedCidrs: ["0.0.0.0/0"] },
      { allowedCidrs: ["127.0.0.0/8", "203.0.113.0/24"] },
    ]) {
      const secret = await madeBy(maker, more);
      if (secret !== undefined) {
        const headers = [{ name, value: secret }];
        const elsewhere = service
          .client(AuthenticationService)
          .authenticate({ headers, clientAddress: "203.0.113.7" });
        assert.equal(
          await reasonOf(elsewhere),
          "CLIENT_ADDRESS_DENIED",
          `${name}, asked ${JSON.stringify(more)}`,
        );
      }
    }
  }
});

test("a key that ends makes no key that outlives it", async () => {
  const expireTime = new Date(Date.now() + 3_600_000);
  const permissions = ["auth.api_keys.write", "platform.service_keys.write", "calls.read"];
  const own = { organizationId: world.acme.id, owner: { userId: owner.id } };
  const parent = await addApiKey(service.core, {
    ...own,
    permissions: permissions.filter((name) => !name.startsWith("p")),
    expireTime,
  });
  const internal = await addServiceKey(service.core, { permissions, expireTime });
  const makers = [
    [service.client(ApiKeyService, apiKey(parent.text)), "x-api-key"],
    [service.client(ServiceKeyService, internalKey(internal.text)), "x-internal-key"],
  ] as const;
  for (const [maker, name] of makers) {
    const secret = await madeBy(maker, {});
    if (secret !== undefined) {
      await run("update api_keys set expire_time = now() where id = $1", parent.id);
      await run("update service_keys set expire_time = now() where id = $1", internal.id);
      const headers = [{ name, value: secret }];
      const reason = await reasonOf(service.client(AuthenticationService).authenticate({ headers }));
      assert.notEqual(reason, undefined, `${name}: the child is good when its parent has ended`);
    }
  }
});
