import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
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
import { ApiKeyService, startService, type TestService, UserService } from "../support/service.ts";
import { addPerson, type Headers, type Person, refusalOf, rightsOf } from "./people.ts";
import { whileHolding } from "./while-holding.ts";

let service: TestService;
/** Another replica on the same database. */
let replica: TestService;
let password: Password;
let organizationId: string;
let owner: Person;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
  organizationId = await addOrganization(service.core);
  owner = await addPerson(service, password, organizationId, "owner");
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const users = (headers: Headers, on = service) => on.client(UserService, headers);
const person = (role: string, of = organizationId, more = {}) => addPerson(service, password, of, role, more);

const remove = (
  headers: Headers,
  id: string,
  more: { newOwnerId?: string; organizationId?: string } = {},
  on = service,
) => users(headers, on).removeMembership({ id, ...more });

const make = async (permissions: readonly string[], of = organizationId) => {
  const name = `role-${uuidv4().slice(0, 8)}`;
  return { name, id: await addRole(service.core, { organizationId: of, name, permissions }) };
};

const keyOf = (userId: string, permissions: string[], more: object = {}) =>
  addApiKey(service.core, { organizationId, owner: { userId }, permissions, ...more });

const stateOfKey = async (id: string) =>
  (
    await run<{ owner: string; revoked: boolean; reason: string | null }>(
      `select owner_user_id as owner, revoke_time is not null as revoked, revoke_reason as reason
       from api_keys where id = $1`,
      id,
    )
  )[0];

const isMember = async (id: string, of = organizationId) =>
  (
    await run(
      "select from memberships where user_id = $1 and organization_id = $2 and remove_time is null",
      id,
      of,
    )
  ).length > 0;

async function activeOwners(of: string): Promise<number> {
  const rows = await run(
    `select from memberships m join roles r on r.id = m.role_id where m.organization_id = $1
       and r.name = 'owner' and m.disable_time is null and m.accept_time is not null and m.remove_time is null`,
    of,
  );
  return rows.length;
}

test("whoever is removed is refused on another replica's next call, and their API keys with them", async () => {
  const admin = await person("admin");
  const member = await person("member");
  const key = await keyOf(member.id, ["calls.read"]);
  const made = await rightsOf(replica, { "x-api-key": key.text });
  assert.deepEqual(made, ["calls.read"]);
  const answer = await remove(admin.headers, member.id);
  assert.deepEqual([answer.handedOverApiKeyIds, answer.revokedApiKeyIds], [[], [key.id]]);
  assert.equal(await refusalOf(replica, member.headers), "USER_DISABLED");
  assert.equal(await refusalOf(replica, { "x-api-key": key.text }), "API_KEY_REVOKED");
  assert.deepEqual(await stateOfKey(key.id), {
    owner: member.id,
    revoked: true,
    reason: "its owner has left",
  });
});

test("whoever was removed is not there: not listed, not got, not changed, not removed again", async () => {
  const member = await person("member");
  await remove(owner.headers, member.id);
  const { users: listed } = await users(owner.headers).listUsers({ pageSize: 250 });
  assert.ok(listed.length > 0 && listed.every(({ id }) => id !== member.id));
  await refusedWith("NOT_FOUND", users(owner.headers).getUser({ id: member.id }));
  for (const more of [{ disabled: true }, { disabled: false }, { role: "admin" }, {}]) {
    await refusedWith("NOT_FOUND", users(owner.headers).updateUser({ id: member.id, ...more }));
  }
  await refusedWith("NOT_FOUND", remove(owner.headers, member.id));
  await refusedWith("NOT_FOUND", remove(owner.headers, member.id, { newOwnerId: owner.id }));
});

test("nobody but a member of one's own organization is found to be removed", async () => {
  const there = await addOrganization(service.core);
  const stranger = await person("owner", there);
  await person("owner", there);
  await refusedWith("NOT_FOUND", remove(owner.headers, stranger.id));
  await refusedWith("NOT_FOUND", remove(owner.headers, uuidv4()));
  await refusedWith("ORGANIZATION_MISMATCH", remove(owner.headers, stranger.id, { organizationId: there }));
  assert.ok(await isMember(stranger.id, there));
});

test("their account and their other organizations stay theirs", async () => {
  const there = await addOrganization(service.core);
  const member = await person("member");
  await addUser(service.core, { organizationId: there, role: "member", password, email: member.email });
  const key = await addApiKey(service.core, {
    organizationId: there,
    owner: { userId: member.id },
    permissions: ["calls.read"],
  });
  await remove(owner.headers, member.id);
  // With one organization left, they need not name it.
  const token = await service.logIn(member.email, password.text);
  assert.ok((await rightsOf(service, { authorization: `Bearer ${token}` })).length > 0);
  assert.deepEqual(await rightsOf(service, { "x-api-key": key.text }), ["calls.read"]);
  await remove({ "x-internal-key": service.internalKey, "x-org-id": there }, member.id);
  await refusedWith("LOGIN_FAILED", service.logIn(member.email, password.text));
});

test("the keys go to whom the call names, and are good on another replica's next call within that one's rights", async () => {
  const [member, heir, viewer] = [await person("member"), await person("member"), await person("viewer")];
  const keys = [await keyOf(member.id, ["calls.write"]), await keyOf(member.id, ["calls.*"])];
  const revoked = await keyOf(member.id, ["calls.read"]);
  await run("update api_keys set revoke_time = now(), revoke_reason = 'leaked' where id = $1", revoked.id);
  const expired = await keyOf(member.id, ["calls.read"], { expireTime: new Date(Date.now() - 1_000) });
  const others = await keyOf(viewer.id, ["calls.read"]);
  const answer = await remove(owner.headers, member.id, { newOwnerId: heir.id.toUpperCase() });
  assert.deepEqual(
    answer.handedOverApiKeyIds,
    [...keys, expired].map(({ id }) => id),
  );
  assert.deepEqual(answer.revokedApiKeyIds, []);
  assert.deepEqual(await rightsOf(replica, { "x-api-key": keys[0]?.text ?? "" }), ["calls.write"]);
  assert.deepEqual(await stateOfKey(revoked.id), { owner: member.id, revoked: true, reason: "leaked" });
  assert.equal((await stateOfKey(others.id))?.owner, viewer.id);
  // From here on they stand on the heir.
  await users(owner.headers).updateUser({ id: heir.id, role: "viewer" });
  assert.deepEqual(await rightsOf(replica, { "x-api-key": keys[1]?.text ?? "" }), ["calls.read"]);
  await users(owner.headers).updateUser({ id: heir.id, disabled: true });
  for (const { text } of keys) {
    assert.equal(await refusalOf(replica, { "x-api-key": text }), "API_KEY_CREATOR_INACTIVE");
  }
});

test("the keys go to nobody who cannot act there, and then nothing is done", async () => {
  const member = await person("member");
  const key = await keyOf(member.id, ["calls.read"]);
  const elsewhere = await person("member", await addOrganization(service.core));
  const gone = await person("member");
  await remove(owner.headers, gone.id);
  const nobody = {
    "who is disabled": (await person("member", organizationId, { disabled: true })).id,
    "who is pending": (await person("member", organizationId, { accepted: false })).id,
    "who has left": gone.id,
    "of another organization": elsewhere.id,
    "who does not exist": uuidv4(),
    "who is to be removed": member.id,
  };
  for (const [who, newOwnerId] of Object.entries(nobody)) {
    assert.equal(await reasonOf(remove(owner.headers, member.id, { newOwnerId })), "OWNER_UNKNOWN", who);
  }
  await refusedWith("REQUEST_INVALID", remove(owner.headers, member.id, { newOwnerId: "somebody" }));
  assert.ok(await isMember(member.id));
  assert.deepEqual(await stateOfKey(key.id), { owner: member.id, revoked: false, reason: null });
  assert.deepEqual(await rightsOf(service, { "x-api-key": key.text }), ["calls.read"]);
});

test("keys are handed over only by whoever holds all that they were granted, whatever they may do today", async () => {
  const helpdesk = await person((await make(["auth.users.*", "calls.read"])).name);
  const everyCall = (
    await run<{ name: string }>("select name from permissions where name like 'calls.%'")
  ).map(({ name }) => name);
  const byNames = await person((await make(["auth.users.write", ...everyCall])).name);
  const byPattern = await person((await make(["auth.users.write", "calls.*"])).name);
  const bound = await keyOf(owner.id, ["auth.users.write", "calls.read"], {
    allowedCidrs: ["127.0.0.0/8", "::1/128"],
  });
  const unbound = await keyOf(owner.id, ["auth.users.write", "calls.read"]);
  const cases: [string, Headers, string[], string | undefined][] = [
    ["what they hold", helpdesk.headers, ["calls.read"], undefined],
    ["what they do not hold", helpdesk.headers, ["calls.read", "calls.write"], "PERMISSION_NOT_HELD"],
    ["what a pattern will mean", byNames.headers, ["calls.*"], "PERMISSION_NOT_HELD"],
    ["a pattern of theirs", byPattern.headers, ["calls.*"], undefined],
    ["what an API key holds", { "x-api-key": unbound.text }, ["calls.read"], undefined],
    ["beyond where an API key is good", { "x-api-key": bound.text }, ["calls.read"], "PERMISSION_NOT_HELD"],
    ["beyond an API key", { "x-api-key": unbound.text }, ["calls.write"], "PERMISSION_NOT_HELD"],
    [
      "all, as an internal key",
      { "x-internal-key": service.internalKey, "x-org-id": organizationId },
      ["*"],
      undefined,
    ],
  ];
  for (const [what, headers, permissions, reason] of cases) {
    // A viewer, so that the key may do next to nothing before it belongs to an owner.
    const { id } = await person("viewer");
    const key = await keyOf(id, permissions);
    assert.equal(await reasonOf(remove(headers, id, { newOwnerId: owner.id })), reason, what);
    assert.equal(await isMember(id), reason !== undefined, what);
    assert.equal((await stateOfKey(key.id))?.owner, reason === undefined ? owner.id : id, what);
    if (reason !== undefined) {
      // They may be ended all the same.
      assert.deepEqual((await remove(headers, id)).revokedApiKeyIds, [key.id], what);
    }
  }
});

test("a key that is revoked with its owner takes along what was made with it, whoever that belongs to by now", async () => {
  const [member, heir] = [await person("admin"), await person("admin")];
  const key = await keyOf(member.id, ["auth.api_keys.write", "calls.read"]);
  const asked = { name: "made", permissions: ["auth.api_keys.write", "calls.read"] };
  const child = await service.client(ApiKeyService, { "x-api-key": key.text }).createApiKey(asked);
  const grandchild = await service.client(ApiKeyService, { "x-api-key": child.secret }).createApiKey(asked);
  const sibling = await keyOf(heir.id, ["calls.read"]);
  const ids = [child, grandchild].map(({ apiKey }) => apiKey?.id ?? "");
  await run("update api_keys set owner_user_id = $1 where id = any($2)", heir.id, ids);
  const { revokedApiKeyIds } = await remove(owner.headers, member.id);
  assert.deepEqual(revokedApiKeyIds.toSorted(), [key.id, ...ids].toSorted());
  for (const text of [key.text, child.secret, grandchild.secret]) {
    assert.equal(await refusalOf(replica, { "x-api-key": text }), "API_KEY_REVOKED");
  }
  assert.equal(await refusalOf(replica, { "x-api-key": sibling.text }), undefined);
});

test("who may remove whom", async () => {
  const of = await addOrganization(service.core);
  await addRole(service.core, { organizationId: of, name: "helpdesk", permissions: ["auth.users.*"] });
  const first = await person("owner", of);
  const internal = async (...permissions: string[]): Promise<Headers> => ({
    "x-internal-key": (await addServiceKey(service.core, { permissions })).text,
    "x-org-id": of,
  });
  const key = await addApiKey(service.core, {
    organizationId: of,
    owner: { userId: first.id },
    permissions: ["auth.users.write"],
  });
  const platform = await person("viewer", await addOrganization(service.core), {
    platformRole: "administrator",
  });
  const targets = [
    { role: "owner" },
    { role: "admin" },
    { role: "member", accepted: false },
    { role: "viewer", disabled: true },
    { role: "viewer", platformRole: "administrator" },
  ] as const;
  const [done, only, held, denied] = ["done", "OWNER_REQUIRED", "PERMISSION_NOT_HELD", "PERMISSION_DENIED"];
  const table: [string, Headers, string[]][] = [
    ["owner", first.headers, [done, done, done, done, held]],
    ["admin", (await person("admin", of)).headers, [only, done, done, done, held]],
    ["helpdesk", (await person("helpdesk", of)).headers, [only, done, done, done, held]],
    ["member", (await person("member", of)).headers, [denied, denied, denied, denied, denied]],
    ["API key of an owner", { "x-api-key": key.text }, [only, done, done, done, held]],
    ["internal key of all", await internal("*"), [done, done, done, done, done]],
    ["internal key for users", await internal("auth.users.write"), [only, done, done, done, held]],
    [
      "internal key of the platform's users",
      await internal("platform.users.write"),
      [done, done, done, done, held],
    ],
    ["platform administrator", platform.headers, [done, done, done, done, done]],
  ];
  const outcomes: [string, string[]][] = [];
  for (const [actor, headers] of table) {
    const row: string[] = [];
    for (const target of targets) {
      const { id } = await addUser(service.core, { organizationId: of, password, ...target });
      const reason = await reasonOf(remove(headers, id, { organizationId: of }));
      assert.equal(await isMember(id, of), reason !== undefined, `${actor} and ${target.role}`);
      row.push(reason ?? "done");
    }
    outcomes.push([actor, row]);
  }
  assert.deepEqual(
    outcomes,
    table.map(([actor, , row]) => [actor, row]),
  );
});

test("whoever may remove people may leave", async () => {
  const admin = await person("admin");
  const key = await keyOf(admin.id, ["calls.read"]);
  const { handedOverApiKeyIds } = await remove(admin.headers, admin.id, { newOwnerId: owner.id });
  assert.deepEqual(handedOverApiKeyIds, [key.id]);
  assert.equal(await refusalOf(replica, admin.headers), "USER_DISABLED");
});

test("the last owner who can act stays, whoever asks", async () => {
  const of = await addOrganization(service.core);
  const last = await person("owner", of);
  await person("owner", of, { accepted: false });
  await person("owner", of, { disabled: true });
  const former = await person("owner", of);
  await remove(last.headers, former.id);
  const internal = { "x-internal-key": service.internalKey, "x-org-id": of };
  for (const headers of [last.headers, internal]) {
    await refusedWith("LAST_OWNER", remove(headers, last.id));
  }
  // One who has left is none who could act.
  await refusedWith("LAST_OWNER", users(last.headers).updateUser({ id: last.id, role: "admin" }));
  assert.equal(await activeOwners(of), 1);
});

test("of two owners who remove each other at once, exactly one succeeds", async () => {
  for (let round = 0; round < 8; round++) {
    const of = await addOrganization(service.core);
    const [one, other] = [await person("owner", of), await person("owner", of)];
    const reasons = await Promise.all([
      reasonOf(remove(one.headers, other.id)),
      reasonOf(remove(other.headers, one.id, {}, replica)),
    ]);
    const [loser] = reasons.filter((reason) => reason !== undefined);
    assert.equal(reasons.filter((reason) => reason === undefined).length, 1, String(reasons));
    // The loser met the rule, or was no member any more by then.
    assert.match(loser ?? "", /^(LAST_OWNER|USER_DISABLED)$/);
    assert.equal(await activeOwners(of), 1);
  }
});

test("of many who remove one person at once, one does", async () => {
  const member = await person("member");
  const key = await keyOf(member.id, ["calls.read"]);
  const answers = await Promise.allSettled(
    Array.from({ length: 6 }, (_, turn) =>
      remove(owner.headers, member.id, {}, turn % 2 === 0 ? service : replica),
    ),
  );
  const done = answers.filter((answer) => answer.status === "fulfilled");
  assert.deepEqual(
    done.map(({ value }) => value.revokedApiKeyIds),
    [[key.id]],
  );
  const events = await run(
    "select from audit_events where target_id = $1 and action = 'user.remove'",
    member.id,
  );
  assert.equal(events.length, 1);
});

test("keys do not go to somebody who is just being disabled or removed", async () => {
  for (const ending of ["disable_time", "remove_time"]) {
    const [member, heir] = [await person("member"), await person("member")];
    const key = await keyOf(member.id, ["calls.read"]);
    const reason = await whileHolding(
      service.connection,
      `update memberships set ${ending} = now() where user_id = $1`,
      [heir.id],
      () => reasonOf(remove(owner.headers, member.id, { newOwnerId: heir.id })),
    );
    assert.equal(reason, "OWNER_UNKNOWN", ending);
    assert.deepEqual(await stateOfKey(key.id), { owner: member.id, revoked: false, reason: null });
  }
});

test("handed over while the new owner is disabled or removed: either way no key is good that belongs to nobody", async () => {
  for (let round = 0; round < 8; round++) {
    const [member, heir] = [await person("member"), await person("member")];
    const key = await keyOf(member.id, ["calls.read"]);
    const [handedOver, ended] = await Promise.all([
      reasonOf(remove(owner.headers, member.id, { newOwnerId: heir.id })),
      reasonOf(
        round % 2 === 0
          ? users(owner.headers, replica).updateUser({ id: heir.id, disabled: true })
          : remove(owner.headers, heir.id, {}, replica),
      ),
    ]);
    assert.equal(ended, undefined);
    assert.ok(handedOver === undefined || handedOver === "OWNER_UNKNOWN", handedOver);
    const refusal = await refusalOf(service, { "x-api-key": key.text });
    const expected = round % 2 === 0 ? "API_KEY_CREATOR_INACTIVE" : "API_KEY_REVOKED";
    assert.equal(refusal, handedOver === undefined ? expected : undefined);
    assert.equal((await stateOfKey(key.id))?.owner, handedOver === undefined ? heir.id : member.id);
  }
});

test("whoever is removed while they or their keys make keys leaves none behind that is good", async () => {
  for (let round = 0; round < 8; round++) {
    const maker = await person("admin");
    const key = await keyOf(maker.id, ["auth.api_keys.write", "calls.read"]);
    const asked = { name: "made", permissions: ["calls.read"] };
    const making = [maker.headers, { "x-api-key": key.text }].flatMap((headers) =>
      [service, replica].map((on) =>
        on
          .client(ApiKeyService, headers)
          .createApiKey(asked)
          .then(
            ({ secret }) => secret,
            () => undefined,
          ),
      ),
    );
    const newOwnerId = round % 2 === 0 ? "" : owner.id;
    const removing = remove(owner.headers, maker.id, { newOwnerId });
    const { revokedApiKeyIds, handedOverApiKeyIds } = await removing;
    const made = (await Promise.all(making)).filter((secret) => secret !== undefined);
    assert.equal(revokedApiKeyIds.length + handedOverApiKeyIds.length, made.length + 1);
    for (const secret of made) {
      const refusal = await refusalOf(service, { "x-api-key": secret });
      assert.equal(refusal, newOwnerId === "" ? "API_KEY_REVOKED" : undefined);
    }
    const left = await run("select from api_keys where owner_user_id = $1 and revoke_time is null", maker.id);
    assert.equal(left.length, 0);
  }
});

test("a login that was under way when the person was removed or disabled begins no session", async () => {
  for (const ending of ["remove_time", "disable_time"]) {
    const { id, email } = await addUser(service.core, { organizationId, role: "member", password });
    const reason = await whileHolding(
      service.connection,
      `update memberships set ${ending} = now() where user_id = $1`,
      [id],
      () => reasonOf(service.logIn(email, password.text)),
    );
    assert.equal(reason, "LOGIN_FAILED", ending);
    assert.deepEqual(await run("select from sessions where user_id = $1", id), []);
  }
});

test("whoever comes back is answered like somebody new, waits for consent, and gets nothing back", async () => {
  const of = await addOrganization(service.core);
  const admin = await person("owner", of);
  const member = await person("admin", of, { displayName: "Before" });
  const key = await addApiKey(service.core, {
    organizationId: of,
    owner: { userId: member.id },
    permissions: ["calls.read"],
  });
  const sinceThen = await person("member", of);
  await remove(admin.headers, member.id);
  const asked = { displayName: "Again", role: "viewer", password: "another first password" };
  const { user } = await users(admin.headers).createUser({ ...asked, email: member.email.toUpperCase() });
  const fresh = await users(admin.headers).createUser({ ...asked, email: `${uuidv4()}@people.test` });
  const shape = (each: typeof user) => ({ ...each, id: "", email: "", createTime: typeof each?.createTime });
  assert.deepEqual(shape(user), shape(fresh.user));
  assert.equal(user?.id, member.id);
  assert.ok(user?.createTime && Number(user.createTime.seconds) * 1000 > Date.now() - 60_000);

  // Their account is theirs: neither the password of the call nor what they had before lets them in.
  await refusedWith("LOGIN_FAILED", service.logIn(member.email, "another first password"));
  await refusedWith("LOGIN_FAILED", service.logIn(member.email, password.text));
  assert.equal(await refusalOf(replica, member.headers), "USER_DISABLED");
  assert.equal(await refusalOf(replica, { "x-api-key": key.text }), "API_KEY_REVOKED");
  const { users: listed } = await users(admin.headers).listUsers({});
  assert.deepEqual(
    listed.map(({ id }) => id),
    [admin.id, sinceThen.id, member.id, fresh.user?.id],
    "the newest last",
  );
  const { user: got } = await users(admin.headers).getUser({ id: member.id });
  assert.deepEqual(got, user);
  await refusedWith("EMAIL_TAKEN", users(admin.headers).createUser({ ...asked, email: member.email }));

  // With their consent they have the new role, and log in anew.
  await run("update memberships set accept_time = now() where user_id = $1", member.id);
  assert.equal(await refusalOf(replica, member.headers), "TOKEN_REVOKED");
  const token = await service.logIn(member.email, password.text);
  const rights = await rightsOf(replica, { authorization: `Bearer ${token}` });
  assert.ok(rights.length > 0 && rights.every((name) => name.endsWith(".read")));
  assert.equal(await refusalOf(replica, { "x-api-key": key.text }), "API_KEY_REVOKED");
});

test("whoever was disabled and an owner comes back as neither", async () => {
  const former = await person("owner", organizationId, { disabled: true });
  await remove(owner.headers, former.id);
  const asked = { email: former.email, role: "viewer", password: password.text };
  const { user } = await users(owner.headers).createUser(asked);
  assert.deepEqual([user?.role, user?.disabled], ["viewer", false]);
  const admin = await person("admin");
  await remove(admin.headers, former.id);
  await refusedWith("OWNER_REQUIRED", users(admin.headers).createUser({ ...asked, role: "owner" }));
});

test("of many at once who take somebody back, one does", async () => {
  const member = await person("member");
  await remove(owner.headers, member.id);
  const asked = { email: member.email, role: "viewer", password: password.text };
  const calls = Array.from({ length: 8 }, (_, turn) =>
    reasonOf(users(owner.headers, turn % 2 === 0 ? service : replica).createUser(asked)),
  );
  const reasons = await Promise.all(calls);
  assert.deepEqual(reasons.toSorted(), [...Array.from({ length: 7 }, () => "EMAIL_TAKEN"), undefined]);
});

test("a create that is repeated with its idempotency key takes somebody back once, and makes one person", async () => {
  const member = await person("member");
  await remove(owner.headers, member.id);
  for (const email of [member.email, `${uuidv4()}@people.test`]) {
    const asked = { email, role: "viewer", password: password.text, idempotencyKey: uuidv4() };
    const answers = await Promise.all([
      users(owner.headers).createUser(asked),
      users(owner.headers, replica).createUser(asked),
    ]);
    assert.deepEqual(answers[0], answers[1]);
  }
});

test("a role that only people had who have left can be deleted, and they can come back all the same", async () => {
  const { id, name } = await make(["calls.read"]);
  const member = await person(name);
  const roles = service.client(RoleService, owner.headers);
  await refusedWith("ROLE_IN_USE", roles.deleteRole({ id }));
  await remove(owner.headers, member.id);
  await roles.deleteRole({ id });
  const asked = { email: member.email, role: "viewer", password: password.text };
  assert.equal((await users(owner.headers).createUser(asked)).user?.role, "viewer");
});

test("removed and deleted at once: the role goes or stays, and no membership is without one", async () => {
  for (let round = 0; round < 8; round++) {
    const { id, name } = await make(["calls.read"]);
    const member = await addUser(service.core, { organizationId, role: name, password });
    const [removed, deleted] = await Promise.all([
      reasonOf(remove(owner.headers, member.id)),
      reasonOf(replica.client(RoleService, owner.headers).deleteRole({ id })),
    ]);
    assert.equal(removed, undefined);
    assert.ok(deleted === undefined || deleted === "ROLE_IN_USE", deleted);
    const rest = await run("select from roles where id = $1", id);
    assert.equal(rest.length, deleted === undefined ? 0 : 1);
    const memberships = await run(
      "select from memberships m join roles r on r.id = m.role_id where m.user_id = $1",
      member.id,
    );
    assert.equal(memberships.length, 1);
  }
});

test("a removal is on record, and told to the feed of changes: the person, every key, every session", async () => {
  const [member, heir] = [await person("member"), await person("member")];
  await service.logIn(member.email, password.text);
  const keys = [await keyOf(member.id, ["calls.read"]), await keyOf(member.id, ["calls.read"])];
  await remove(owner.headers, member.id, { newOwnerId: heir.id });
  const [event] = await run<{ detail: object; xid: string }>(
    `select action, organization_id, actor_id, detail, xmin::text as xid from audit_events
     where target_id = $1 and action = 'user.remove'`,
    member.id,
  );
  assert.ok(event);
  const { xid, ...recorded } = event;
  assert.deepEqual(recorded, {
    action: "user.remove",
    organization_id: organizationId,
    actor_id: owner.id,
    detail: {
      before: { role: "member", disabled: false },
      after: { removed: true },
      newOwnerId: heir.id,
      handedOver: keys.map(({ id }) => id),
      revoked: [],
      rotated: [],
    },
  });
  const sessions = await run<{ id: string; ended: boolean }>(
    "select id, revoke_time is not null as ended from sessions where user_id = $1",
    member.id,
  );
  assert.ok(sessions.length === 2 && sessions.every(({ ended }) => ended));
  const changes = await run<{ tags: string[] }>("select tags from changes where xmin::text = $1", xid);
  const expected = [
    `user:${member.id}`,
    ...keys.map(({ id }) => `key:${id}`),
    ...sessions.map(({ id }) => `session:${id}`),
  ];
  assert.deepEqual(
    changes.map(({ tags }) => tags.toSorted()),
    [expected.toSorted()],
  );
});
