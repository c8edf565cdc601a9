import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import type { Core } from "../../src/app.ts";
import { FREE_FAILURES } from "../../src/users/login-throttle.ts";
import { addOrganization, addUser, makePassword, type Password } from "../access/cast.ts";
import { statementsOf } from "../storage/statements.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { startService, type TestService, UserService } from "../support/service.ts";
import { addPerson, type Person } from "./people.ts";
import { whileHolding } from "./while-holding.ts";

const CHOSEN = "a password of one's own";

let service: TestService;
let replica: TestService;
let password: Password;
/** Owners of two organizations. */
let here: Person & { readonly organizationId: string };
let there: typeof here;
let hashing: string[] = [];

before(async () => {
  service = await startService({ wrapCore: watchHashing });
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
  [here, there] = [await addOwner("here"), await addOwner("Umbrella Botanicals")];
});
after(async () => {
  await replica.stop();
  await service.stop();
});

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

async function addOwner(name: string) {
  const organizationId = await addOrganization(service.core, name);
  return { organizationId, ...(await addPerson(service, password, organizationId, "owner")) };
}

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const freshEmail = () => `${uuidv4()}@people.test`;

interface Invited {
  readonly email: string;
  readonly id: string;
  readonly invitation: string;
}

async function invite(
  by = here,
  more: { email?: string; password?: string; role?: string } = {},
): Promise<Invited> {
  const email = more.email ?? freshEmail();
  const { user, invitation } = await service
    .client(UserService, by.headers)
    .createUser({ email, displayName: "Ludmilla", role: "viewer", ...more });
  return { email, invitation, id: user?.id ?? assert.fail() };
}

const accept = ({ email, invitation }: Pick<Invited, "email" | "invitation">, text = CHOSEN, on = service) =>
  on.client(UserService).acceptMembership({ email, invitation, password: text });

const isPending = async (by: Person, id: string) =>
  (await service.client(UserService, by.headers).getUser({ id })).user?.pending;

/** Somebody who is a member there, with a password of their own. */
const addMember = () =>
  addUser(service.core, { organizationId: there.organizationId, role: "member", password });

test("whoever is new chooses a password with the invitation, and is a member from then on", async () => {
  const invited = await invite();
  assert.equal(await isPending(here, invited.id), true);
  await refusedWith("LOGIN_FAILED", service.logIn(invited.email, CHOSEN));
  const { organizationId } = await accept({ ...invited, email: invited.email.toUpperCase() });
  assert.equal(organizationId, here.organizationId);
  assert.equal(await isPending(here, invited.id), false);
  await service.logIn(invited.email, CHOSEN);
});

test("whoever has an account needs its password and the invitation: neither alone accepts anything", async () => {
  const known = await addMember();
  const invited = await invite(here, { email: known.email });
  const others = await invite();
  await refusedWith("LOGIN_FAILED", accept(invited, CHOSEN));
  await refusedWith("LOGIN_FAILED", accept({ ...invited, invitation: others.invitation }, password.text));
  await refusedWith("LOGIN_FAILED", accept({ ...invited, email: others.email }, password.text));
  assert.equal(await isPending(here, known.id), true);
  await accept(invited, password.text);
  assert.equal(await isPending(here, known.id), false);
  await refusedWith("ORGANIZATION_REQUIRED", service.logIn(known.email, password.text));
  await refusedWith("LOGIN_FAILED", service.logIn(known.email, CHOSEN));
});

test("whoever made an account in somebody's name does not get into an organization that invites its owner", async () => {
  const email = freshEmail();
  const theirs = await invite(there, { email });
  const ours = await invite(here, { email });
  assert.equal(theirs.id, ours.id);
  // The other organization takes the account with its own invitation, and knows the password then.
  await accept(theirs);
  for (const invitation of [theirs.invitation, "in_none", `${ours.invitation.slice(0, -1)}0`]) {
    await refusedWith("LOGIN_FAILED", accept({ email, invitation }));
  }
  assert.equal(await isPending(here, ours.id), true);
});

test("an invitation that claims an account ends the initial password that another organization has given it", async () => {
  const initial = "an initial password of theirs";
  const theirs = await invite(there, { password: initial });
  const ours = await invite(here, { email: theirs.email });
  await accept(ours);
  const change = { email: theirs.email, currentPassword: initial, newPassword: `${CHOSEN} too` };
  await refusedWith("LOGIN_FAILED", service.client(UserService).changePassword(change));
  await refusedWith("LOGIN_FAILED", accept(theirs, initial));
  assert.equal(await isPending(there, theirs.id), true);
  await accept(theirs, CHOSEN);
});

test("an invitation is used once, however many use it at once, on whichever replica", async () => {
  for (const invited of [await invite(), await invite(here, { email: (await addMember()).email })]) {
    const known = (await run("select from users where email = $1 and claim_time is not null", invited.email))
      .length;
    const text = known > 0 ? password.text : CHOSEN;
    const calls = Array.from({ length: 8 }, (_, turn) =>
      reasonOf(accept(invited, text, turn % 2 === 0 ? service : replica)),
    );
    const reasons = await Promise.all(calls);
    assert.deepEqual(reasons.toSorted(), [...Array.from({ length: 7 }, () => "LOGIN_FAILED"), undefined]);
    await refusedWith("LOGIN_FAILED", accept(invited, text));
  }
});

test("of two invitations that claim one account at once, one does, and its password is the one in force", async () => {
  for (let round = 0; round < 3; round++) {
    const email = freshEmail();
    const invitations = [await invite(here, { email }), await invite(there, { email })];
    const texts = [`${CHOSEN} here`, `${CHOSEN} there`];
    const reasons = await Promise.all(
      invitations.map((each, at) => reasonOf(accept(each, texts[at], at === 0 ? service : replica))),
    );
    assert.deepEqual(reasons.toSorted(), ["LOGIN_FAILED", undefined]);
    await service.logIn(email, texts[reasons.indexOf(undefined)]);
  }
});

test("what is wrong with a password is told only to whoever has the invitation that lets them choose it", async () => {
  const invited = await invite(there);
  const refused = [
    ["PASSWORD_TOO_SHORT", "short"],
    ["PASSWORD_COMMON", "123456789987654321"],
    ["PASSWORD_CONTEXT", "Umbrella Botanicals 1"],
  ] as const;
  for (const [reason, text] of refused) {
    await refusedWith(reason, accept(invited, text));
    await refusedWith("LOGIN_FAILED", accept({ ...invited, invitation: "in_none" }, text));
  }
  assert.equal(await isPending(there, invited.id), true);
  await accept(invited);
});

/** Whoever does not get in, and what they send. */
async function strangers(): Promise<
  Record<string, readonly [Pick<Invited, "email" | "invitation">, string]>
> {
  const users = service.client(UserService, here.headers);
  const [known, fresh] = [await invite(here, { email: (await addMember()).email }), await invite()];
  const after = async (change: (invited: Invited) => Promise<unknown>) => {
    const invited = await invite();
    await change(invited);
    return [invited, CHOSEN] as const;
  };
  const used = await invite();
  await accept(used);
  const delayed = await invite();
  for (let failures = 0; failures < FREE_FAILURES; failures++) {
    await refusedWith("LOGIN_FAILED", accept({ ...delayed, invitation: "in_none" }));
  }
  return {
    "an unknown email": [{ ...fresh, email: freshEmail() }, CHOSEN],
    "no invitation at all": [{ ...fresh, invitation: "x" }, CHOSEN],
    "an invitation of somebody else": [{ ...fresh, invitation: known.invitation }, CHOSEN],
    "an invitation of somebody else, and one's own password": [
      { ...known, invitation: fresh.invitation },
      password.text,
    ],
    "an invitation whose secret is another": [
      { ...fresh, invitation: known.invitation.replace(/^in_\w{12}/, fresh.invitation.slice(0, 15)) },
      CHOSEN,
    ],
    "a wrong password": [known, CHOSEN],
    "a member who has accepted": [used, CHOSEN],
    "an invitation that is over": await after(({ id }) =>
      run("update memberships set invitation_expire_time = now() where user_id = $1", id),
    ),
    "whoever was disabled": await after(({ id }) => users.updateUser({ id, disabled: true })),
    "whoever was removed": await after(({ id }) => users.removeMembership({ id })),
    "whoever was invited anew": await after(async ({ id, email }) => {
      await users.removeMembership({ id });
      await users.createUser({ email, role: "viewer" });
    }),
    "an account that is delayed": [delayed, CHOSEN],
  };
}

const withoutValues = (sql: string) => sql.replace(/'[^']*'|\b(true|false)::/g, "''");

test("whoever may not accept is told the same, to the byte, after the same statements and hashes", async () => {
  const answers = new Map<string, string>();
  const shapes = new Map<string, string[]>();
  for (const [who, [{ email, invitation }, text]] of Object.entries(await strangers())) {
    hashing = [];
    const statements = await statementsOf(async () => {
      const response = await fetch(`${service.url}/latchkey.v1.UserService/AcceptMembership`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-request-id": "same" },
        body: JSON.stringify({ email, invitation, password: text }),
      });
      answers.set(who, `${response.status} ${await response.text()}`);
    });
    assert.deepEqual(hashing, ["verify"], who);
    shapes.set(who, statements.map(withoutValues));
  }
  const [answer] = answers.values();
  const [shape] = shapes.values();
  assert.match(answer ?? "", /^401 .*LOGIN_FAILED/);
  assert.equal(shape?.length, 3);
  for (const [who, told] of answers) {
    assert.equal(told, answer, who);
    assert.deepEqual(shapes.get(who), shape, who);
  }
});

test("wrong invitations are counted with logins, and a right one takes nothing away from the count of others", async () => {
  const known = await addMember();
  const invited = await invite(here, { email: known.email });
  for (let failures = 0; failures < FREE_FAILURES; failures++) {
    await refusedWith("LOGIN_FAILED", accept({ ...invited, invitation: "in_none" }, password.text));
  }
  await refusedWith("LOGIN_FAILED", service.logIn(known.email, password.text));
});

test("a membership of a suspended organization is not accepted, and the invitation stays good", async () => {
  const invited = await invite();
  const suspend = (time: string) =>
    run(`update organizations set suspend_time = ${time} where id = $1`, here.organizationId);
  await suspend("now()");
  try {
    await refusedWith("ORGANIZATION_SUSPENDED", accept(invited));
    await refusedWith("LOGIN_FAILED", accept({ ...invited, invitation: "in_none" }));
  } finally {
    await suspend("null");
  }
  await accept(invited);
});

test("whoever is removed, or whose password is reset, while they accept, has accepted nothing", async () => {
  const ways = [
    "update memberships set remove_time = now() where user_id = $1",
    "update memberships set disable_time = now() where user_id = $1",
    "update users set password_hash = 'another', claim_time = now() where id = $1",
  ];
  for (const sql of ways) {
    const invited = await invite();
    const reason = await whileHolding(service.connection, sql, [invited.id], () => reasonOf(accept(invited)));
    assert.equal(reason, "LOGIN_FAILED", sql);
    const accepted = "select from memberships where user_id = $1 and accept_time is not null";
    assert.deepEqual(await run(accepted, invited.id), [], sql);
  }
});

test("an invitation is kept as a digest, for 7 days by the database's clock", async () => {
  const { id, invitation } = await invite();
  const [row] = await run<{ text: string; lasts: number }>(
    `select m::text as text, extract(epoch from invitation_expire_time - now())::int as lasts
     from memberships m where user_id = $1`,
    id,
  );
  assert.ok(row && !row.text.includes(invitation.slice(-49, -6)));
  assert.ok(row.lasts > 7 * 86_400 - 60 && row.lasts <= 7 * 86_400, String(row.lasts));
});
