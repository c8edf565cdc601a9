import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import {
  addApiKey,
  addOrganization,
  addUser,
  makePassword,
  type Password,
  type UserToAdd,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { startService, type TestService, UserService } from "../support/service.ts";
import { addPerson as addPersonTo, type Headers, join, type Person, refusalOf } from "./people.ts";
import { whileHolding } from "./while-holding.ts";

const CHOSEN = "a password of one's own";

let service: TestService;
let replica: TestService;
let password: Password;
let owner: Person;
/** Everywhere, for everything. */
let platform: Headers;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
  owner = await addPerson(service.organizationId, "owner");
  platform = { "x-internal-key": service.internalKey };
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const addPerson = (of: string, role: string, more: Partial<UserToAdd> = {}) =>
  addPersonTo(service, password, of, role, more);

const add = (organizationId = service.organizationId, more: Partial<UserToAdd> = {}) =>
  addUser(service.core, { organizationId, role: "member", password, ...more });

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const remove = (headers: Headers, id: string, newOwnerId = "", on = service) =>
  on.client(UserService, headers).deleteUser({ id, newOwnerId });

const keyOf = (userId: string, organizationId = service.organizationId) =>
  addApiKey(service.core, { organizationId, owner: { userId }, permissions: ["calls.read"] });

const asKey = ({ text }: { readonly text: string }): Headers => ({ "x-api-key": text });

test("all that somebody had is refused from the moment that the call answers, on another replica too", async () => {
  const elsewhere = await addOrganization(service.core);
  const person = await addPerson(service.organizationId, "member");
  await add(elsewhere, { email: person.email });
  const keys = [await keyOf(person.id), await keyOf(person.id, elsewhere)];
  assert.equal(await refusalOf(replica, person.headers), undefined);
  const { revokedApiKeyIds } = await remove(platform, person.id);
  assert.deepEqual(revokedApiKeyIds.toSorted(), keys.map(({ id }) => id).toSorted());
  for (const on of [replica, service]) {
    assert.equal(await refusalOf(on, person.headers), "USER_DISABLED");
    for (const key of keys) {
      assert.equal(await refusalOf(on, asKey(key)), "API_KEY_REVOKED");
    }
    await refusedWith("LOGIN_FAILED", on.logIn(person.email, password.text));
  }
  const users = service.client(UserService, owner.headers);
  await refusedWith("NOT_FOUND", users.getUser({ id: person.id }));
  await refusedWith("NOT_FOUND", users.deleteUser({ id: person.id }));
  await refusedWith("NOT_FOUND", service.client(UserService, platform).listMemberships({ id: person.id }));
});

test("the API keys go to the new owner, who has to be a user of each organization that has some", async () => {
  const elsewhere = await addOrganization(service.core);
  const [person, heir] = [await add(), await add()];
  await add(elsewhere, { email: person.email });
  const key = await keyOf(person.id);
  const there = await keyOf(person.id, elsewhere);
  for (const newOwnerId of [heir.id, person.id, uuidv4()]) {
    await refusedWith("OWNER_UNKNOWN", remove(platform, person.id, newOwnerId));
  }
  assert.equal(await refusalOf(service, asKey(key)), undefined);
  await add(elsewhere, { email: heir.email });
  const answer = await remove(platform, person.id, heir.id);
  assert.deepEqual(answer.handedOverApiKeyIds.toSorted(), [key.id, there.id].toSorted());
  assert.deepEqual(answer.knownApiKeyIds.toSorted(), [key.id, there.id].toSorted());
  assert.equal(await refusalOf(replica, asKey(there)), undefined);
});

/** Every row of every table, as text. */
async function everything(): Promise<string> {
  const tables = await run<{ name: string }>(
    // What the record holds of a person is erased by the record itself.
    `select tablename as name from pg_tables
     where schemaname = current_schema() and tablename not like 'audit%'`,
  );
  const rows = await Promise.all(
    tables.map(({ name }) => run<{ row: string }>(`select t::text as row from "${name}" t`)),
  );
  return rows
    .flat()
    .map(({ row }) => row)
    .join("\n");
}

test("nothing personal is left: no email, no name of any organization, no answer that tells of them", async () => {
  const elsewhere = await addOrganization(service.core);
  const away = await addPerson(elsewhere, "owner");
  const [email, name] = [`${uuidv4()}@people.test`, `Ludmilla ${uuidv4()}`];
  const users = service.client(UserService, owner.headers);
  const made = { email, displayName: name, role: "viewer", idempotencyKey: uuidv4() };
  const { user, invitation } = await users.createUser(made);
  const id = user?.id ?? assert.fail();
  await users.acceptMembership({ email, invitation, password: CHOSEN });
  // They had left one organization, and were invited by another.
  const invited = { email, displayName: name, role: "viewer", idempotencyKey: uuidv4() };
  await service.client(UserService, away.headers).createUser(invited);
  await service.client(UserService, away.headers).removeMembership({ id });
  assert.ok((await everything()).includes(email) && (await everything()).includes(name));
  const sealed = () => run("select from idempotency_keys where subject_id = $1", id);
  assert.equal((await sealed()).length, 2);
  await remove(owner.headers, id);
  const left = await everything();
  assert.ok(!left.includes(email) && !left.includes(name));
  assert.deepEqual(await sealed(), []);
  assert.equal((await run("select from users where id = $1 and password_hash is null", id)).length, 1);
});

test("the address is free: whoever comes by it is somebody else, with nothing of theirs", async () => {
  const person = await addPerson(service.organizationId, "admin");
  const key = await keyOf(person.id);
  await remove(owner.headers, person.id);
  const { id } = await join(service, owner.headers, {
    email: person.email,
    role: "viewer",
    password: CHOSEN,
  });
  assert.notEqual(id, person.id);
  await refusedWith("LOGIN_FAILED", service.logIn(person.email, password.text));
  const token = await service.logIn(person.email, CHOSEN);
  assert.equal(await refusalOf(service, { authorization: `Bearer ${token}` }), undefined);
  assert.equal(await refusalOf(service, person.headers), "USER_DISABLED");
  assert.equal(await refusalOf(service, asKey(key)), "API_KEY_REVOKED");
});

test("what a deleted account is left with is no address, so nobody can take it beforehand", async () => {
  const { id } = await add();
  const email = `deleted ${id}`;
  await refusedWith(
    "REQUEST_INVALID",
    service.client(UserService, owner.headers).createUser({ email, role: "viewer" }),
  );
  await remove(owner.headers, id);
  assert.equal((await run("select from users where id = $1 and email = $2", id, email)).length, 1);
});

test("whoever is the last owner anywhere stays, and everything with them", async () => {
  const elsewhere = await addOrganization(service.core);
  const person = await addPerson(service.organizationId, "owner");
  await add(elsewhere, { email: person.email, role: "owner" });
  const before = await run("select * from memberships where user_id = $1 order by id", person.id);
  await refusedWith("LAST_OWNER", remove(platform, person.id));
  assert.deepEqual(await run("select * from memberships where user_id = $1 order by id", person.id), before);
  assert.equal(await refusalOf(service, person.headers), undefined);
  await addPerson(elsewhere, "owner");
  await remove(platform, person.id);
});

test("somebody who has yet to accept is no last owner", async () => {
  const organizationId = await addOrganization(service.core);
  const email = `${uuidv4()}@people.test`;
  const users = service.client(UserService, { ...platform, "x-org-id": organizationId });
  const invite = async () => (await users.createUser({ email, role: "owner" })).user?.id ?? assert.fail();
  await users.removeMembership({ id: await invite() });
  await remove(platform, await invite());
});

test("of two last owners who delete each other at once, one stays", async () => {
  for (let round = 0; round < 3; round++) {
    const organizationId = await addOrganization(service.core);
    const [one, other] = [await addPerson(organizationId, "owner"), await addPerson(organizationId, "owner")];
    const reasons = await Promise.all([
      reasonOf(remove(one.headers, other.id)),
      reasonOf(remove(other.headers, one.id, "", replica)),
    ]);
    const loser = reasons.find((reason) => reason !== undefined) ?? "";
    assert.equal(reasons.filter((reason) => reason === undefined).length, 1, String(reasons));
    assert.ok(["LAST_OWNER", "USER_DISABLED"].includes(loser), loser);
  }
});

test("somebody who is invited, logs in or accepts while they are deleted leaves nothing that goes on", async () => {
  const elsewhere = await addPerson(await addOrganization(service.core), "owner");
  for (let round = 0; round < 6; round++) {
    const { email, id } = await add();
    const awaited = await addPerson(await addOrganization(service.core), "owner");
    const { invitation } = await service
      .client(UserService, awaited.headers)
      .createUser({ email, role: "viewer" });
    const on = round % 2 === 0 ? service : replica;
    const users = on.client(UserService, elsewhere.headers);
    const calls = [
      () => users.createUser({ email, role: "viewer" }),
      () => on.logIn(email, password.text),
      () => users.acceptMembership({ email, invitation, password: password.text }),
      () => remove(platform, id),
    ];
    const outcomes = await Promise.all(calls.map((call) => reasonOf(call())));
    assert.equal(outcomes[0], undefined);
    assert.equal(outcomes[3], undefined, String(outcomes));
    const alive = await run(
      `select 'a membership' from memberships m where m.user_id = $1 and m.remove_time is null
       union all select 'a session' from sessions s where s.user_id = $1 and s.revoke_time is null
       union all select 'an account' from users u where u.id = $1 and (u.delete_time is null or u.email = $2)`,
      id,
      email,
    );
    assert.deepEqual(alive, []);
    // Whoever was invited meanwhile is there, be it as somebody new.
    const listed = await service.client(UserService, elsewhere.headers).listUsers({ pageSize: 250 });
    const [found] = listed.users.filter((user) => user.email === email);
    assert.ok(outcomes[0] !== undefined || found === undefined || found.id !== id);
  }
});

test("a key that is being made in their name is made before, and revoked, or not at all", async () => {
  const { id } = await add();
  const key = uuidv4();
  const sql = `insert into api_keys (id, organization_id, name, permissions, environment, allowed_cidrs, creator_id,
      owner_user_id, maker_ids)
    values ($2, $3, 'late', '{calls.read}', '', '{}', $1, $1, '{}')`;
  const values = [id, key, service.organizationId];
  const { revokedApiKeyIds } = await whileHolding(service.connection, sql, values, () =>
    remove(owner.headers, id),
  );
  assert.deepEqual(revokedApiKeyIds, [key]);
});

test("it is on the record of the only organization, or of each and of the platform", async () => {
  const elsewhere = await addOrganization(service.core);
  const recordOf = (id: string) =>
    run<{ action: string; at: string | null; text: string }>(
      `select action, organization_id as at, detail::text as text from audit_events
       where target_id = $1 and action in ('user.delete', 'user.remove') order by action, at`,
      id,
    );
  const one = await add();
  await remove(owner.headers, one.id);
  const [event, ...more] = await recordOf(one.id);
  assert.deepEqual([event?.action, event?.at, more.length], ["user.delete", service.organizationId, 0]);

  const two = await add();
  await add(elsewhere, { email: two.email });
  await remove(platform, two.id);
  const events = await recordOf(two.id);
  assert.deepEqual(
    events.map(({ action, at }) => [action, at]),
    [
      ["user.delete", null],
      ...[elsewhere, service.organizationId].toSorted().map((at) => ["user.remove", at]),
    ],
  );
  for (const { text } of [event ?? assert.fail(), ...events]) {
    assert.ok(!text.includes(one.email) && !text.includes(two.email));
  }
});

test("a person deletes their own account where their organization manages it", async () => {
  const organizationId = await addOrganization(service.core);
  const [one] = [await addPerson(organizationId, "owner"), await addPerson(organizationId, "owner")];
  await remove(one.headers, one.id);
  assert.equal(await refusalOf(service, one.headers), "USER_DISABLED");
  // Nor is it kept from where they did that.
  const kept = "select from audit_personal_data where user_id = $1 and data is not null";
  assert.deepEqual(await run(kept, one.id), []);
});
