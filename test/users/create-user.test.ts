import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import type { Core } from "../../src/app.ts";
import {
  addApiKey,
  addOrganization,
  addRole,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { startService, type TestService, UserService } from "../support/service.ts";

const FIRST = "the first password of all";

let service: TestService;
let password: Password;
/** Another organization, and its owner. */
let elsewhere: { organizationId: string; owner: Headers };
let hashes = 0;

type Headers = Record<string, string>;

before(async () => {
  service = await startService({ wrapCore: countHashes });
  password = await makePassword(service.core);
  const organizationId = await addOrganization(service.core);
  elsewhere = { organizationId, owner: await asUser("owner", organizationId) };
});
after(() => service.stop());

function countHashes(core: Core): Core {
  const { passwordHasher } = core;
  const hash = (text: string) => {
    hashes++;
    return passwordHasher.hash(text);
  };
  return { ...core, passwordHasher: { ...passwordHasher, hash } };
}

async function asUser(role: string, organizationId = service.organizationId): Promise<Headers> {
  const { email } = await addUser(service.core, { organizationId, role, password });
  return { authorization: `Bearer ${await service.logIn(email, password.text)}` };
}

const freshEmail = () => `${uuidv4()}@people.test`;

const create = (headers: Headers, more: { email?: string; role?: string; organizationId?: string } = {}) =>
  service
    .client(UserService, headers)
    .createUser({ email: freshEmail(), displayName: "Ann", role: "viewer", password: FIRST, ...more });

const count = async (sql: string, values: unknown[]) =>
  (await query<{ count: number }>(service.connection, `select count(*)::int as count from ${sql}`, values))[0]
    ?.count;

test("a new user is pending, by the canonical form of the email, and is told with an invitation", async () => {
  const admin = await asUser("admin");
  const email = freshEmail();
  const { user, invitation } = await create(admin, { email: email.toUpperCase(), role: "member" });
  assert.match(invitation, /^in_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$/);
  const { id, createTime, ...rest } = user ?? assert.fail();
  assert.match(id, /^[0-9a-f-]{14}4/, "a random id tells nothing of when they first came");
  assert.ok(createTime);
  assert.deepEqual(rest, {
    $typeName: "latchkey.v1.User",
    organizationId: service.organizationId,
    email,
    displayName: "Ann",
    role: "member",
    disabled: false,
    pending: true,
  });
});

test("of 20 at once who create one email in one organization, one succeeds", async () => {
  const admin = await asUser("admin");
  const email = freshEmail();
  const spellings = (turn: number) => (turn % 2 === 0 ? email : email.toUpperCase());
  const calls = Array.from({ length: 20 }, (_, turn) => reasonOf(create(admin, { email: spellings(turn) })));
  const reasons = await Promise.all(calls);
  assert.deepEqual(reasons.toSorted(), [...Array.from({ length: 19 }, () => "EMAIL_TAKEN"), undefined]);
  assert.equal(await count("users where email = $1", [email]), 1);
  assert.equal(await count("memberships m join users u on u.id = m.user_id where u.email = $1", [email]), 1);
});

test("of two organizations that create one email at once, both are answered alike, and one is its home", async () => {
  const admin = await asUser("admin");
  for (let round = 0; round < 5; round++) {
    const email = freshEmail();
    const [here, there] = await Promise.all([create(admin, { email }), create(elsewhere.owner, { email })]);
    assert.equal(here.user?.id, there.user?.id);
    assert.equal(await count("users where email = $1", [email]), 1);
    const memberships = await query<{ accepted: boolean; is_home: boolean }>(
      service.connection,
      `select accept_time is not null as accepted, u.home_organization_id = m.organization_id as is_home
       from memberships m join users u on u.id = m.user_id where u.email = $1 order by 2`,
      [email],
    );
    assert.deepEqual(memberships, [
      { accepted: false, is_home: false },
      { accepted: false, is_home: true },
    ]);
  }
});

test("an email that is known elsewhere is answered like a new one, after as many hashes", async () => {
  const admin = await asUser("admin");
  const known = freshEmail();
  await create(elsewhere.owner, { email: known });
  const answers: unknown[] = [];
  for (const email of [known, freshEmail()]) {
    hashes = 0;
    const { user, invitation } = await create(admin, { email });
    assert.match(invitation, /^in_/);
    assert.equal(hashes, 1);
    assert.ok(user?.createTime);
    answers.push({
      ...user,
      id: user.id.replaceAll(/[0-9a-f]/g, "x"),
      email: email.length,
      createTime: undefined,
    });
    // Nor do the ways to look at them tell.
    const { user: seen } = await service.client(UserService, admin).getUser({ id: user.id });
    assert.deepEqual(seen, user);
  }
  // The digit of a UUID that tells its version is a letter for both.
  assert.deepEqual(answers[0], answers[1]);
});

test("a person's other organizations change neither their password nor their name nor their rights here", async () => {
  const admin = await asUser("admin");
  const email = freshEmail();
  const { user } = await create(admin, { email, role: "viewer" });
  await service
    .client(UserService, elsewhere.owner)
    .createUser({ email, displayName: "Mallory", role: "owner", password: "another password of theirs" });
  await refusedWith("PASSWORD_CHANGE_REQUIRED", service.logIn(email, FIRST));
  await refusedWith("LOGIN_FAILED", service.logIn(email, "another password of theirs"));
  const { user: seen } = await service.client(UserService, admin).getUser({ id: user?.id ?? "" });
  assert.deepEqual(seen, user);
});

test("an email of a pending member is taken like any other", async () => {
  const email = freshEmail();
  await create(await asUser("admin"), { email });
  await create(elsewhere.owner, { email });
  await refusedWith("EMAIL_TAKEN", create(elsewhere.owner, { email }));
});

/** Who may make whom: an owner is made by an owner or by the platform, else nobody gives more than they hold. */
test("who may make a user of which role", async () => {
  const { core, organizationId } = service;
  const internal = async (...permissions: string[]): Promise<Headers> => ({
    "x-internal-key": (await addServiceKey(core, { permissions })).text,
    "x-org-id": organizationId,
  });
  await addRole(core, { organizationId, name: "helpdesk", permissions: ["auth.users.*", "calls.read"] });
  await addRole(core, { organizationId, name: "listener", permissions: ["calls.read"] });
  const { id: ownerId } = service.admin;
  const everyAuth = ["auth.users.write", "auth.users.read", "calls.read"];
  const apiKey = await addApiKey(core, {
    organizationId,
    owner: { userId: ownerId },
    permissions: everyAuth,
  });
  const platformAdmin = await addUser(core, {
    organizationId: elsewhere.organizationId,
    role: "viewer",
    password,
    platformRole: "administrator",
  });
  const platform = { authorization: `Bearer ${await service.logIn(platformAdmin.email, password.text)}` };

  const roles = ["owner", "admin", "member", "viewer", "helpdesk", "listener"];
  const [made, owner, held, denied] = ["made", "OWNER_REQUIRED", "PERMISSION_NOT_HELD", "PERMISSION_DENIED"];
  const table: [string, Headers, string[]][] = [
    ["owner", await asUser("owner"), [made, made, made, made, made, made]],
    ["admin", await asUser("admin"), [owner, made, made, made, made, made]],
    ["member", await asUser("member"), [denied, denied, denied, denied, denied, denied]],
    ["viewer", await asUser("viewer"), [denied, denied, denied, denied, denied, denied]],
    ["helpdesk", await asUser("helpdesk"), [owner, held, held, held, made, made]],
    ["API key", { "x-api-key": apiKey.text }, [owner, held, held, held, held, made]],
    ["internal key of all", await internal("*"), [made, made, made, made, made, made]],
    ["internal key for users", await internal("auth.users.write"), [owner, held, held, held, held, held]],
    [
      "internal key of the platform's users",
      await internal("platform.users.write"),
      [held, held, held, held, held, held],
    ],
    // Who is a viewer, where they are anything.
    ["platform administrator", platform, [held, held, held, made, held, made]],
  ];
  const outcomes: [string, string[]][] = [];
  for (const [actor, headers] of table) {
    const row: string[] = [];
    for (const role of roles) {
      const where = actor === "platform administrator" ? { organizationId } : {};
      row.push((await reasonOf(create(headers, { role, ...where }))) ?? "made");
    }
    outcomes.push([actor, row]);
  }
  assert.deepEqual(
    outcomes,
    table.map(([actor, , row]) => [actor, row]),
  );
});

test("a role of another organization is unknown", async () => {
  await addRole(service.core, {
    organizationId: elsewhere.organizationId,
    name: "theirs",
    permissions: ["calls.read"],
  });
  await refusedWith("ROLE_UNKNOWN", create(await asUser("owner"), { role: "theirs" }));
});

test("whoever loses their rights while the password is hashed makes nobody", async () => {
  const organizationId = service.organizationId;
  const actor = await addUser(service.core, { organizationId, role: "admin", password });
  const headers = { authorization: `Bearer ${await service.logIn(actor.email, password.text)}` };
  const hashing = Promise.withResolvers<void>();
  const disabled = Promise.withResolvers<void>();
  const slow = await startService({
    beside: service,
    wrapCore: (core) => ({
      ...core,
      passwordHasher: {
        ...core.passwordHasher,
        async hash(text) {
          hashing.resolve();
          await disabled.promise;
          return await core.passwordHasher.hash(text);
        },
      },
    }),
  });
  try {
    const email = freshEmail();
    const call = slow.client(UserService, headers).createUser({ email, role: "viewer", password: FIRST });
    const reason = reasonOf(call);
    await hashing.promise;
    const admin = service.client(UserService, { authorization: `Bearer ${await service.logIn()}` });
    await admin.updateUser({ id: actor.id, disabled: true });
    disabled.resolve();
    assert.equal(await reason, "USER_DISABLED");
    assert.equal(await count("users where email = $1", [email]), 0);
  } finally {
    disabled.resolve();
    await slow.stop();
  }
});

test("a first password that is too short is refused before anything is hashed or made", async () => {
  const admin = await asUser("admin");
  const email = freshEmail();
  hashes = 0;
  const short = { email, displayName: "", role: "viewer", password: "14 characters." };
  await refusedWith("PASSWORD_TOO_SHORT", service.client(UserService, admin).createUser(short));
  assert.equal(hashes, 0);
  assert.equal(await count("users where email = $1", [email]), 0);
});

test("a first password that is common, or made of names, is refused before anything is hashed or made", async () => {
  const organizationId = await addOrganization(service.core, "Umbrella Botanicals");
  const owner = service.client(UserService, await asUser("owner", organizationId));
  const internal = { "x-internal-key": service.internalKey, "x-org-id": organizationId };
  const email = "lu.oye@thistledown.test";
  const user = { email, displayName: "Ludmilla Oyelaran", role: "viewer" };
  hashes = 0;
  for (const text of ["123456789987654321", "Mailcreated5240", "aaaaaaaaaaaaaaaa"]) {
    await refusedWith("PASSWORD_COMMON", owner.createUser({ ...user, password: text }));
  }
  for (const text of ["Umbrella Botanicals 1", "ludmilla-oyelaran", "lu.oye@thistledown.test"]) {
    await refusedWith("PASSWORD_CONTEXT", owner.createUser({ ...user, password: text }));
    await refusedWith(
      "PASSWORD_CONTEXT",
      service.client(UserService, internal).createUser({ ...user, password: text }),
    );
  }
  assert.equal(hashes, 0);
  assert.equal(await count("users where email = $1", [email]), 0);
  // The organization's name is good for somebody elsewhere.
  await create(await asUser("admin"), { email: freshEmail() });
  await service
    .client(UserService, await asUser("owner"))
    .createUser({ email, role: "viewer", password: "Umbrella Botanicals 1" });
});

test("whoever loses their rights while they create a user creates none, whatever they are", async () => {
  const { core, organizationId } = service;
  await addRole(core, { organizationId, name: "silent", permissions: ["calls.read"] });
  const admin = await addUser(core, { organizationId, role: "admin", password });
  const key = await addApiKey(core, {
    organizationId,
    owner: { userId: service.admin.id },
    permissions: ["auth.users.write", "calls.read"],
  });
  const internal = await addServiceKey(core, { permissions: ["auth.users.write", "calls.read"] });
  const run = (sql: string, id: string) => query(service.connection, sql, [id]);
  const cases = [
    {
      headers: { authorization: `Bearer ${await service.logIn(admin.email, password.text)}` },
      lose: () => run("update memberships set disable_time = now() where user_id = $1", admin.id),
      reason: "USER_DISABLED",
    },
    {
      headers: { "x-api-key": key.text },
      lose: () => run("update api_keys set revoke_time = now() where id = $1", key.id),
      reason: "API_KEY_REVOKED",
    },
    {
      headers: { "x-internal-key": internal.text, "x-org-id": organizationId },
      lose: () => run("update service_keys set revoke_time = now() where id = $1", internal.id),
      reason: "SERVICE_KEY_REVOKED",
    },
  ] as const;
  let gate: { begun: () => void; open: Promise<void> } | undefined;
  // This replica stops between the decision about the actor and the transaction that follows from it.
  const slow = await startService({
    beside: service,
    wrapCore: (own) => ({
      ...own,
      passwordHasher: {
        ...own.passwordHasher,
        async hash(text) {
          gate?.begun();
          await gate?.open;
          return await own.passwordHasher.hash(text);
        },
      },
    }),
  });
  try {
    for (const { headers, lose, reason } of cases) {
      const email = freshEmail();
      const [begun, open] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      gate = { begun: begun.resolve, open: open.promise };
      const made = reasonOf(
        slow
          .client(UserService, headers)
          .createUser({ email, displayName: "Ann", role: "silent", password: FIRST }),
      );
      await Promise.race([begun.promise, made]);
      await lose();
      open.resolve();
      assert.equal(await made, reason);
      assert.equal(await count("users where email = $1", [email]), 0);
    }
  } finally {
    await slow.stop();
  }
});
