import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { ImportMode } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { bearer, type Headers, internalKey } from "../access/actors.ts";
import {
  addOrganization,
  addRole,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { holdRows } from "../credentials/row-lock.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { OrganizationService, startService, type TestService, UserService } from "../support/service.ts";
import { addPerson, rightsOf } from "../users/people.ts";
import { importUsers, OLD_HASH, OLD_PASSWORD, outcomesOf, someone } from "./people.ts";

let service: TestService;
let other: TestService;
let password: Password;
let admin: Headers;
before(async () => {
  service = await startService({ loginSourceLimit: 0 });
  other = await startService({ beside: service, loginSourceLimit: 0 });
  password = await makePassword(service.core);
  admin = bearer(await service.logIn());
});
after(async () => {
  await other.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

/** What is kept of somebody. Undefined: nobody has the email. */
async function kept(email: string) {
  const [row] = await run<{ id: string; password_hash: string; memberships: string[] }>(
    `select u.id, u.password_hash, array(
      select m.organization_id || ' ' || r.name || case when m.accept_time is null then ' pending' else '' end
      from memberships m join roles r on r.id = m.role_id where m.user_id = u.id) as memberships
    from users u where u.email = $1`,
    email,
  );
  return row;
}

const countUsers = async () => (await run<{ count: number }>("select count(*)::int from users"))[0]?.count;

/** Every table that a call may write to, as text. */
async function everythingWritten(): Promise<string> {
  const rows = await run<{ row: string }>(
    `select u::text as row from users u union all select a::text from audit_events a
    union all select c::text from changes c union all select i::text from idempotency_keys i
    union all select m::text from memberships m`,
  );
  return rows.map(({ row }) => row).join("\n");
}

test("people log in with the passwords that they have, on every replica; the first login replaces the foreign hash", async () => {
  const elsewhere = await addOrganization(service.core);
  const [one, two] = [
    someone(service, { email: `One.${uuidv4()}@Old.Test`, role: "member", displayName: "One" }),
    someone(service, { organizationId: elsewhere }),
  ];
  const answer = await importUsers(service, [one, two]);
  assert.deepEqual([answer.imported, answer.unchanged, answer.refused], [2, 0, 0]);
  const email = one.email.toLowerCase();
  const before = await kept(email);
  assert.deepEqual(before?.memberships, [`${service.organizationId} member`]);
  assert.equal(before?.id, answer.results[0]?.id);
  assert.ok(before?.password_hash.endsWith(OLD_HASH));

  await refusedWith("LOGIN_FAILED", other.logIn(email, "hunter3"));
  assert.equal((await kept(email))?.password_hash, before?.password_hash);
  const tokens = [await other.logIn(one.email, OLD_PASSWORD), await service.logIn(email, OLD_PASSWORD)];
  for (const token of tokens) {
    assert.ok((await rightsOf(service, bearer(token) as Record<string, string>)).includes("calls.write"));
  }
  const { password_hash: after = "" } = (await kept(email)) ?? {};
  assert.match(after, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  await refusedWith("LOGIN_FAILED", service.logIn(email, "hunter3"));
  // They are members of nothing else, and their former hash is nowhere.
  assert.deepEqual((await kept(two.email))?.memberships, [`${elsewhere} viewer`]);
  await service.logIn(two.email, OLD_PASSWORD);
  assert.ok(!(await everythingWritten()).includes(OLD_HASH));
});

test("two first logins at once both succeed", async () => {
  for (let round = 0; round < 8; round++) {
    const user = someone(service);
    await importUsers(service, [user]);
    await Promise.all([service.logIn(user.email, OLD_PASSWORD), other.logIn(user.email, OLD_PASSWORD)]);
    assert.match((await kept(user.email))?.password_hash ?? "", /^\$argon2id/);
  }
});

test("an imported password is no exception: it is delayed after too many failures, and can be changed", async () => {
  const [guessed, changing] = [someone(service), someone(service)];
  await importUsers(service, [guessed, changing]);
  for (let turn = 0; turn < 10; turn++) {
    await refusedWith("LOGIN_FAILED", service.logIn(guessed.email, `guess ${turn}`));
  }
  await refusedWith("LOGIN_FAILED", other.logIn(guessed.email, OLD_PASSWORD));
  const change = { email: changing.email, currentPassword: OLD_PASSWORD, newPassword: password.text };
  await service.client(UserService).changePassword(change);
  await service.logIn(changing.email, password.text);
  await refusedWith("LOGIN_FAILED", service.logIn(changing.email, OLD_PASSWORD));
  assert.deepEqual(outcomesOf(await importUsers(service, [changing])), ["unchanged"]);
  await refusedWith("LOGIN_FAILED", service.logIn(changing.email, OLD_PASSWORD));
});

test("to import again changes nothing, whatever has become of them; with other content it is refused", async () => {
  const user = someone(service);
  const [first] = (await importUsers(service, [user])).results;
  const again = await importUsers(service, [{ ...user, email: user.email.toUpperCase() }]);
  assert.deepEqual([outcomesOf(again), again.results[0]?.id], [["unchanged"], first?.id]);
  await service.logIn(user.email, OLD_PASSWORD);
  const before = await kept(user.email);
  assert.deepEqual(outcomesOf(await importUsers(service, [user])), ["unchanged"]);
  const elsewhere = await addOrganization(service.core);
  for (const more of [
    { role: "member" },
    { displayName: "Somebody else" },
    { organizationId: elsewhere },
    { passwordHash: OLD_HASH.replace("$2b$", "$2a$") },
  ]) {
    assert.deepEqual(outcomesOf(await importUsers(service, [{ ...user, ...more }])), ["EMAIL_TAKEN"]);
  }
  assert.deepEqual(await kept(user.email), before);
});

test("nobody who is known is changed, or made a member, by whatever spelling of their email", async () => {
  const here = await addOrganization(service.core);
  const known = await addUser(service.core, { organizationId: here, role: "viewer", password });
  const pending = await addUser(service.core, {
    organizationId: here,
    role: "viewer",
    password,
    accepted: false,
  });
  const before = [await kept(known.email), await kept(pending.email)];
  for (const email of [known.email, known.email.toUpperCase(), pending.email]) {
    for (const more of [{}, { organizationId: here }, { role: "admin" }]) {
      assert.deepEqual(outcomesOf(await importUsers(service, [someone(service, { email, ...more })])), [
        "EMAIL_TAKEN",
      ]);
    }
  }
  assert.deepEqual([await kept(known.email), await kept(pending.email)], before);
  await service.logIn(known.email, password.text);
  await refusedWith("LOGIN_FAILED", service.logIn(known.email, OLD_PASSWORD));
});

/** One of each, and what is said of it. */
function spoilt(): [ReturnType<typeof someone>, string][] {
  const good = someone(service);
  return [
    [good, "imported"],
    [someone(service, { email: good.email.toUpperCase() }), "EMAIL_TAKEN"],
    [someone(service, { email: "nobody" }), "REQUEST_INVALID"],
    [someone(service, { email: "" }), "REQUEST_INVALID"],
    [someone(service, { displayName: "a\u0007b" }), "REQUEST_INVALID"],
    [someone(service, { role: "Boss" }), "REQUEST_INVALID"],
    [someone(service, { role: "" }), "REQUEST_INVALID"],
    [someone(service, { role: "boss" }), "ROLE_UNKNOWN"],
    [someone(service, { organizationId: "" }), "ORGANIZATION_REQUIRED"],
    [someone(service, { organizationId: "acme" }), "REQUEST_INVALID"],
    [someone(service, { organizationId: uuidv4() }), "ORGANIZATION_UNKNOWN"],
    [someone(service, { passwordHash: "" }), "PASSWORD_HASH_INVALID"],
    [someone(service, { passwordHash: OLD_HASH.replace("$04$", "$20$") }), "PASSWORD_HASH_INVALID"],
    [someone(service, { email: service.admin.email }), "EMAIL_TAKEN"],
    [someone(service), "imported"],
  ];
}

test("what is wrong with one is told in their result, and does not count for the others", async () => {
  const rows = spoilt();
  const expected = rows.map(([, outcome]) => outcome);
  const users = rows.map(([user]) => user);
  const before = await countUsers();
  const look = await importUsers(service, users, { validateOnly: true });
  assert.deepEqual(outcomesOf(look), expected);
  assert.deepEqual([look.imported, look.results[0]?.id], [2, ""]);
  assert.equal(await countUsers(), before);

  const whole = { mode: ImportMode.ALL_OR_NOTHING };
  for (const more of [whole, { ...whole, validateOnly: true }]) {
    const nothing = await importUsers(service, users, more);
    const skipped = expected.map((outcome) => (outcome === "imported" ? "skipped" : outcome));
    assert.deepEqual(outcomesOf(nothing), skipped);
  }
  assert.equal(await countUsers(), before);

  const answer = await importUsers(service, users);
  assert.deepEqual(outcomesOf(answer), expected);
  assert.match(answer.results[1]?.message ?? "", /users\[0\] of this call/);
  assert.equal(await countUsers(), (before ?? 0) + 2);
  // No hash is told, nor kept in the record.
  assert.ok(!JSON.stringify(answer.results).includes(OLD_HASH.slice(7)));
});

test("nobody gives by an import what they do not hold", async () => {
  const { core, organizationId } = service;
  const elsewhere = await addOrganization(core);
  for (const id of [organizationId, elsewhere]) {
    await addRole(core, { organizationId: id, name: "caller", permissions: ["calls.read"] });
  }
  const key = async (...permissions: string[]) =>
    internalKey((await addServiceKey(core, { permissions: ["platform.users.import", ...permissions] })).text);
  const person = await addPerson(service, password, elsewhere, "caller", { platformRole: "administrator" });
  const roles = ["owner", "admin", "member", "viewer", "caller"];
  const [done, held, owner] = ["imported", "PERMISSION_NOT_HELD", "OWNER_REQUIRED"];
  const table: [string, Headers, string[]][] = [
    ["an import's own", await key(), [owner, held, held, held, held]],
    ["with what one role allows", await key("calls.read"), [owner, held, held, held, done]],
    [
      "for everything there is in an organization",
      await key("auth.*", "calls.*"),
      [owner, held, held, held, done],
    ],
    ["for everything", await key("*"), [done, done, done, done, done]],
    // As with CreateUser: of the platform they hold everything, in an organization what their role does.
    ["a person of the platform", person.headers, [held, held, held, held, done]],
  ];
  for (const [who, headers, expected] of table) {
    for (const id of [organizationId, elsewhere]) {
      const users = roles.map((role) => someone(service, { organizationId: id, role }));
      assert.deepEqual(outcomesOf(await importUsers(service, users, {}, headers)), expected, who);
    }
  }
  const nobodys = [
    [
      "PERMISSION_DENIED",
      internalKey((await addServiceKey(core, { permissions: ["platform.users.write"] })).text),
    ],
    ["PERMISSION_DENIED", (await addPerson(service, password, organizationId, "owner")).headers],
    ["CREDENTIAL_MISSING", {}],
  ] as const;
  for (const [reason, headers] of nobodys) {
    await refusedWith(reason, importUsers(service, [someone(service)], {}, headers));
  }
  // Who acts for one organization imports nobody into another.
  const bound = internalKey(service.internalKey, elsewhere);
  const users = [someone(service), someone(service, { organizationId: elsewhere })];
  assert.deepEqual(outcomesOf(await importUsers(service, users, {}, bound)), [
    "ORGANIZATION_AMBIGUOUS",
    done,
  ]);
});

test("the record of each organization names its own people, by their ids", async () => {
  const elsewhere = await addOrganization(service.core);
  const users = [
    someone(service, { organizationId: elsewhere }),
    someone(service, { organizationId: elsewhere, role: "member" }),
    someone(service),
  ];
  const { results } = await importUsers(service, users);
  const [one, two] = results.map(({ id }) => id);
  const events = await run("select action, detail from audit_events where organization_id = $1", elsewhere);
  assert.deepEqual(events, [
    { action: "user.import", detail: { imported: 2, after: { viewer: [one], member: [two] } } },
  ]);
  const text = await everythingWritten();
  assert.ok(text.includes(one ?? ""));
  const inRecord = await run(
    "select from audit_events where detail::text like '%@old.test%' or detail::text like '%$2b$%'",
  );
  assert.deepEqual(inRecord, []);
});

test("of imports with people in common at the same time, each person is imported by one", async () => {
  for (let round = 0; round < 5; round++) {
    const users = Array.from({ length: 40 }, () => someone(service));
    const [forth, back] = await Promise.all([
      importUsers(service, users),
      importUsers(
        other,
        users.toReversed().map((user) => ({ ...user, displayName: "Of the other" })),
      ),
    ]);
    assert.equal(forth.imported + back.imported, users.length);
    assert.equal(forth.refused + back.refused, users.length);
  }
});

test("all or nothing holds also where somebody takes an email meanwhile", async () => {
  const users = [someone(service), someone(service), someone(service)];
  const [, taken] = users;
  await using held = await holdRows(
    service.connection,
    "insert into users (id, email, password_hash) values (gen_random_uuid(), $1, 'x')",
    [taken?.email],
  );
  const answer = importUsers(service, users, { mode: ImportMode.ALL_OR_NOTHING });
  await held.waiting(1);
  await held.release();
  assert.deepEqual(outcomesOf(await answer), ["skipped", "EMAIL_TAKEN", "skipped"]);
  assert.deepEqual(
    [await kept(users[0]?.email ?? ""), await kept(users[2]?.email ?? "")],
    [undefined, undefined],
  );
});

test("whoever is imported while the organization is deleted is no member of it", async () => {
  const name = `org ${uuidv4()}`;
  const organizationId = await addOrganization(service.core, name);
  const organizations = other.client(OrganizationService, { ...admin });
  const [role] = await run<{ id: string }>(
    "select id from roles where organization_id = $1 and name = 'viewer'",
    organizationId,
  );
  await using held = await holdRows(service.connection, "select from roles where id = $1 for update", [
    role?.id,
  ]);
  const [early, late] = [someone(service, { organizationId }), someone(service, { organizationId })];
  const first = importUsers(service, [early]);
  await held.waiting(1);
  const deletion = organizations.deleteOrganization({ id: organizationId, name });
  await held.waiting(2);
  await held.release();
  assert.deepEqual(outcomesOf(await first), ["imported"]);
  assert.equal((await deletion).removedMembers, 1);
  assert.deepEqual(outcomesOf(await importUsers(service, [late])), ["ORGANIZATION_UNKNOWN"]);
  await refusedWith("LOGIN_FAILED", service.logIn(early.email, OLD_PASSWORD));
});

test("who has lost their rights while they waited imports nobody", async () => {
  const { id, headers } = await addPerson(service, password, service.organizationId, "owner", {
    platformRole: "administrator",
  });
  const user = someone(service);
  await using held = await holdRows(
    service.connection,
    "update users set platform_role = null where id = $1",
    [id],
  );
  const late = reasonOf(importUsers(service, [user], {}, headers));
  await held.waiting(1);
  await held.release();
  assert.equal(await late, "PERMISSION_DENIED");
  assert.equal(await kept(user.email), undefined);
});

test("ten thousand people come in one call, of more organizations than a thousand in several", async () => {
  const organizationId = await addOrganization(service.core);
  const many = Array.from({ length: 10_000 }, () => someone(service, { organizationId }));
  const { imported } = await importUsers(service, many, { mode: ImportMode.ALL_OR_NOTHING });
  assert.equal(imported, 10_000);
  await service.logIn(many.at(-1)?.email, OLD_PASSWORD);
  const scattered = Array.from({ length: 1001 }, () => someone(service, { organizationId: uuidv4() }));
  await refusedWith("REQUEST_INVALID", importUsers(service, scattered));
  assert.equal((await importUsers(service, scattered.slice(1))).refused, 1000);
});

test("an email that nobody has fails with every password, also with everybody's", async () => {
  for (let turn = 0; turn < 20; turn++) {
    await refusedWith("LOGIN_FAILED", service.logIn(`${uuidv4()}@nobody.test`, OLD_PASSWORD));
  }
});
