import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hash as argon2Hash } from "@node-rs/argon2";
import { v4 as uuidv4 } from "uuid";
import type { Core } from "../../src/app.ts";
import { FREE_FAILURES } from "../../src/users/login-throttle.ts";
import { addOrganization, addUser, makePassword, type Password, type UserToAdd } from "../access/cast.ts";
import { statementsOf } from "../storage/statements.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import {
  AuthenticationService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";

let service: TestService;
let password: Password;
let hashing: string[] = [];

before(async () => {
  service = await startService({ wrapCore: watchHashing });
  password = await makePassword(service.core);
});
after(() => service.stop());

/** Notes what is asked of the password hasher. */
function watchHashing(core: Core): Core {
  const { passwordHasher } = core;
  return {
    ...core,
    passwordHasher: {
      ...passwordHasher,
      hash(text) {
        hashing.push("hash");
        return passwordHasher.hash(text);
      },
      verify(text, stored) {
        hashing.push("verify");
        return passwordHasher.verify(text, stored);
      },
    },
  };
}

const add = (more: Partial<UserToAdd> = {}) =>
  addUser(service.core, { organizationId: service.organizationId, role: "member", password, ...more });

const logIn = (email: string, text = password.text, organizationId = "") =>
  service
    .client(TokenService)
    .issueToken({ grant: { case: "password", value: { email, password: text } }, organizationId });

/** Everybody who does not get in. */
async function strangers(): Promise<
  Record<string, { email: string; password?: string; organizationId?: string }>
> {
  const organizationId = service.organizationId;
  const elsewhere = await addOrganization(service.core);
  const known = await add();
  const alone = await add();
  const gone = await add();
  const { connection } = service;
  await query(connection, "delete from memberships where user_id = $1", [alone.id]);
  await query(connection, "update memberships set remove_time = now() where user_id = $1", [gone.id]);
  // Somebody who was invited, and whose account nobody has claimed yet.
  const unclaimed = async (set: string) => {
    const invited = await add({ accepted: false });
    await query(connection, `update users set claim_time = null, ${set} where id = $1`, [invited.id]);
    return invited;
  };
  const initial = "password_change_required = true";
  const unwanted = await unclaimed(initial);
  await query(connection, "update memberships set disable_time = now() where user_id = $1", [unwanted.id]);
  const reset = await add();
  await query(connection, `update users set ${initial} where id = $1`, [reset.id]);
  const deleted = await add();
  const admin = service.client(UserService, { authorization: `Bearer ${await service.logIn()}` });
  await admin.deleteUser({ id: deleted.id });
  const long = "x".repeat(256);
  return {
    "an unknown email": { email: "nobody@people.test" },
    "a wrong password": { email: known.email, password: `${password.text}!` },
    "a wrong password of an administrator": { email: service.admin.email, password: long },
    "an unknown email with a long password": { email: `${long.slice(0, 50)}@people.test`, password: long },
    "a disabled user": await add({ disabled: true }),
    "a disabled user with a wrong password": { ...(await add({ disabled: true })), password: "wrong" },
    "a pending membership": await add({ accepted: false }),
    "a one-time password that has ended": await add({ passwordExpireTime: new Date(Date.now() - 1_000) }),
    "an account without a password": await unclaimed("password_hash = null"),
    "a wrong initial password": { ...(await unclaimed(initial)), password: "wrong" },
    "an initial password of whoever is disabled": unwanted,
    "an initial password whose organization is not the one that waits": await unclaimed(
      `${initial}, home_organization_id = null`,
    ),
    "an initial password that has ended": await unclaimed(`${initial}, password_expire_time = now()`),
    "a wrong one-time password": { ...reset, password: "wrong" },
    "a user who was deleted": deleted,
    "the email that a deleted user is left with": { email: `deleted ${deleted.id}` },
    "a user without any membership": alone,
    "a user who has left": gone,
    "a user who has left with a wrong password": { ...gone, password: "wrong" },
    "an organization of somebody else": { ...known, organizationId: elsewhere },
    "an organization that does not exist": { ...known, organizationId: uuidv4() },
    "a wrong password for an organization": { ...known, password: "wrong", organizationId },
    "a delayed account": await addDelayed(),
    "a delayed account with a wrong password": { ...(await addDelayed()), password: "wrong" },
    "an unknown email that is delayed": await delayed({ email: `${uuidv4()}@people.test` }),
  };
}

const withoutValues = (sql: string) => sql.replace(/'[^']*'|\b(true|false)::/g, "''");

/** After so many failures that the next ones are delayed. */
async function delayed<Asked extends { email: string }>(asked: Asked): Promise<Asked> {
  for (let failures = 0; failures < FREE_FAILURES; failures++) {
    await refusedWith("LOGIN_FAILED", logIn(asked.email, "wrong"));
  }
  return asked;
}

const addDelayed = async () => await delayed(await add());

async function post(method: string, message: object): Promise<unknown> {
  const response = await fetch(`${service.url}/latchkey.v1.${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-request-id": "same" },
    body: JSON.stringify(message),
  });
  const headers = [...response.headers].filter(([name]) => name !== "date");
  return { status: response.status, headers, body: await response.text() };
}

test("whoever does not get in is told the same, to the byte, after the same statements and hashes", async () => {
  const everybody = await strangers();
  const answers = new Map<string, unknown>();
  let expected: string[] | undefined;
  for (const [who, { email, password: text = password.text, organizationId = "" }] of Object.entries(
    everybody,
  )) {
    hashing = [];
    const statements = await statementsOf(async () => {
      answers.set(
        who,
        await post("TokenService/IssueToken", { password: { email, password: text }, organizationId }),
      );
    });
    assert.deepEqual(hashing, ["verify"], who);
    assert.equal(statements.length, 3, `${who}: ${statements}`);
    expected ??= statements.map(withoutValues);
    assert.deepEqual(statements.map(withoutValues), expected, who);
  }
  const [first] = answers.values();
  assert.equal((first as { status: number }).status, 401);
  for (const [who, answer] of answers) {
    assert.deepEqual(answer, first, who);
  }
});

test("whoever may not change a password is told the same, after the same statements and hashes", async () => {
  const everybody = await strangers();
  const answers = new Map<string, unknown>();
  let expected: string[] | undefined;
  const newPassword = "a password that is long enough";
  for (const [who, asked] of Object.entries(everybody).filter(
    ([who]) => !who.startsWith("an organization"),
  )) {
    const { email, password: currentPassword = password.text } = asked;
    hashing = [];
    const statements = await statementsOf(async () => {
      answers.set(who, await post("UserService/ChangePassword", { email, currentPassword, newPassword }));
    });
    assert.deepEqual(hashing, ["verify"], who);
    assert.equal(statements.length, 3, `${who}: ${statements}`);
    expected ??= statements.map(withoutValues);
    assert.deepEqual(statements.map(withoutValues), expected, who);
  }
  const [first] = answers.values();
  assert.equal((first as { status: number }).status, 401);
  for (const [who, answer] of answers) {
    assert.deepEqual(answer, first, who);
  }
});

test("a login is refused as LOGIN_FAILED, and says no more", async () => {
  const error = await refusedWith("LOGIN_FAILED", logIn("nobody@people.test"));
  assert.equal(error.rawMessage, "Email or password is wrong.");
});

test("an email address is the same in any case and width", async () => {
  const { email } = await add({ email: `ann.${uuidv4()}@people.test` });
  await logIn(email.toUpperCase());
  await logIn(email.replace("ann", "\uff21\uff2e\uff2e"));
  await refusedWith("LOGIN_FAILED", logIn(` ${email}`));
  await refusedWith("LOGIN_FAILED", logIn(email.replace("@", "%40")));
});

test("what is wrong besides email and password is told only to whoever knew the password", async () => {
  const other = await addOrganization(service.core);
  const { email } = await add();
  await add({ email, organizationId: other });
  const several = await refusedWith("ORGANIZATION_REQUIRED", logIn(email));
  assert.match(several.rawMessage, /several organizations/);
  await refusedWith("LOGIN_FAILED", logIn(email, "wrong"));
  assert.equal((await logIn(email, password.text, other.toUpperCase())).user?.email, email);

  await query(service.connection, "update organizations set suspend_time = now() where id = $1", [other]);
  await refusedWith("ORGANIZATION_SUSPENDED", logIn(email, password.text, other));
  await refusedWith("LOGIN_FAILED", logIn(email, "wrong", other));
});

test("organizations where somebody is disabled, pending or gone are not theirs to choose from", async () => {
  const [off, pending, left] = [
    await addOrganization(service.core),
    await addOrganization(service.core),
    await addOrganization(service.core),
  ];
  const { email } = await add();
  await add({ email, organizationId: off, disabled: true });
  await add({ email, organizationId: pending, accepted: false });
  await add({ email, organizationId: left });
  const leaving = "update memberships set remove_time = now() where organization_id = $1";
  await query(service.connection, leaving, [left]);
  const issued = await logIn(email);
  const client = service.client(AuthenticationService, { authorization: `Bearer ${issued.accessToken}` });
  assert.equal((await client.whoAmI({})).organization?.id, service.organizationId);
  await refusedWith("LOGIN_FAILED", logIn(email, password.text, off));
  await refusedWith("LOGIN_FAILED", logIn(email, password.text, pending));
  await refusedWith("LOGIN_FAILED", logIn(email, password.text, left));
});

test("a password that has an end lets in until then", async () => {
  const { email } = await add({ passwordExpireTime: new Date(Date.now() + 60_000) });
  await logIn(email);
});

const hashOf = async (email: string) => {
  const rows = await query<{ password_hash: string }>(
    service.connection,
    "select password_hash from users where email = $1",
    [email],
  );
  return rows[0]?.password_hash ?? "";
};

test("a hash that was made with weaker parameters is replaced at the next login, and only by the right password", async () => {
  const weak = await argon2Hash(password.text, { memoryCost: 8_192, timeCost: 1, parallelism: 1 });
  const { email } = await add({ password: { hash: weak } });
  await refusedWith("LOGIN_FAILED", logIn(email, "wrong"));
  assert.equal(await hashOf(email), weak);
  await logIn(email);
  const replaced = await hashOf(email);
  assert.match(replaced, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  hashing = [];
  await logIn(email);
  assert.deepEqual(hashing, ["verify"]);
  assert.equal(await hashOf(email), replaced);
});

test("a hash that was made with stronger parameters stays", async () => {
  const strong = await argon2Hash(password.text, { memoryCost: 20_000, timeCost: 3, parallelism: 1 });
  const { email } = await add({ password: { hash: strong } });
  hashing = [];
  await logIn(email);
  assert.deepEqual(hashing, ["verify"]);
  assert.equal(await hashOf(email), strong);
});

test("of many logins at once that meet a weak hash every one succeeds, and it is replaced once", async () => {
  const weak = await argon2Hash(password.text, { memoryCost: 8_192, timeCost: 1, parallelism: 1 });
  const { email, id } = await add({ password: { hash: weak } });
  const hashes = new Set<string>();
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      await logIn(email);
      hashes.add(await hashOf(email));
    }),
  );
  assert.equal(hashes.size, 1);
  assert.ok(!hashes.has(weak));
  const sessions = await query(service.connection, "select id from sessions where user_id = $1", [id]);
  assert.equal(sessions.length, 10);
});

test("a password from before today's rules still lets in: only new ones are judged", async () => {
  for (const text of ["hunter2", "123456789987654321"]) {
    const { email } = await add({ password: { hash: await service.core.passwordHasher.hash(text) } });
    await logIn(email, text);
  }
});

test("a login that was under way when the password was changed begins no session", async () => {
  for (const weak of [false, true]) {
    const hash = weak
      ? await argon2Hash(password.text, { memoryCost: 8_192, timeCost: 1, parallelism: 1 })
      : password.hash;
    const { email, id } = await add({ password: { hash } });
    const checked = Promise.withResolvers<void>();
    const changed = Promise.withResolvers<void>();
    // This replica stops between the check of the password and what follows from it.
    const slow = await startService({
      beside: service,
      wrapCore: (core) => ({
        ...core,
        passwordHasher: {
          ...core.passwordHasher,
          async verify(text, stored) {
            const right = await core.passwordHasher.verify(text, stored);
            checked.resolve();
            await changed.promise;
            return right;
          },
        },
      }),
    });
    try {
      const login = slow
        .client(TokenService)
        .issueToken({ grant: { case: "password", value: { email, password: password.text } } });
      const outcome = login.then(
        () => "a session",
        () => "refused",
      );
      await checked.promise;
      const newPassword = `${password.text} but new`;
      await service
        .client(UserService)
        .changePassword({ email, currentPassword: password.text, newPassword });
      changed.resolve();
      await outcome;
      const live = await query(
        service.connection,
        "select id from sessions where user_id = $1 and revoke_time is null",
        [id],
      );
      assert.deepEqual(live, [], "a session lives that was begun with the old password");
      assert.equal(await outcome, "refused");
      // And the new password is the one that is in force.
      await logIn(email, newPassword);
    } finally {
      changed.resolve();
      await slow.stop();
    }
  }
});
