import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import type { Core } from "../../src/app.ts";
import { AuthError } from "../../src/errors.ts";
import { type LoginParts, logIn } from "../../src/users/login.ts";
import { createLoginThrottle, FREE_FAILURES, KNOWN_SOURCES } from "../../src/users/login-throttle.ts";
import type { PasswordHasher } from "../../src/users/password.ts";
import { addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { startService, type TestService } from "../support/service.ts";
import { whileHolding } from "./while-holding.ts";

// By the function that every method takes: from any address, and with the counters' times moved in the database.

const HERE = "203.0.113.7";

let service: TestService;
let password: Password;
let parts: LoginParts;
/** How often a password was compared with somebody's. */
let guesses = 0;

before(async () => {
  service = await startService();
  password = await makePassword(service.core);
  parts = partsWith(1_000);
});
after(() => service.stop());
beforeEach(async () => {
  await query(service.connection, "truncate login_counters, login_sources");
  guesses = 0;
});

function partsWith(sourceLimit: number): LoginParts {
  const { storage, keyHasher, passwordHasher } = service.core;
  const key = keyHasher.deriveKey("login throttle");
  return {
    storage,
    passwordHasher: countGuesses(passwordHasher),
    loginThrottle: createLoginThrottle({ storage, key, sourceLimit }),
  };
}

function countGuesses(passwordHasher: Core["passwordHasher"]): PasswordHasher {
  return {
    ...passwordHasher,
    verify: (text, stored) =>
      passwordHasher.verify(text, async () => {
        const hash = typeof stored === "function" ? await stored() : stored;
        guesses += typeof hash === "string" ? 1 : 0;
        return hash;
      }),
  };
}

const add = async (email = `${uuidv4()}@people.test`) =>
  (await addUser(service.core, { organizationId: service.organizationId, role: "member", password, email }))
    .email;

/** @returns what it was refused with, or undefined. */
async function enter(
  email: string,
  { from = HERE, text = password.text, by = parts } = {},
): Promise<string | undefined> {
  try {
    await logIn(by, { email, password: text, peerAddress: from });
    return undefined;
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    return error.reason;
  }
}

async function fail(email: string, times: number, from = HERE): Promise<void> {
  for (let at = 0; at < times; at++) {
    assert.equal(await enter(email, { from, text: "wrong" }), "LOGIN_FAILED");
  }
}

/** As if so much time had passed. */
async function pass(time: string): Promise<void> {
  const { connection } = service;
  await query(
    connection,
    `update login_counters set failure_time = failure_time - $1::interval,
      expire_time = expire_time - $1::interval`,
    [time],
  );
  await query(connection, "update login_sources set expire_time = expire_time - $1::interval", [time]);
}

/** Whether the next attempt is compared with the person's password. */
async function isLetThrough(email: string): Promise<boolean> {
  const sofar = guesses;
  await fail(email, 1);
  return guesses > sofar;
}

const counters = () =>
  query<{ failures: number; source: Buffer }>(
    service.connection,
    "select account, source, failures, failure_time, expire_time from login_counters order by account, source",
  );

test("after ten failures the right password is as wrong as any, and nothing is compared with it", async () => {
  const email = await add();
  await fail(email, FREE_FAILURES);
  assert.equal(guesses, FREE_FAILURES);
  assert.equal(await enter(email), "LOGIN_FAILED");
  assert.equal(await enter(email, { from: "198.51.100.1" }), "LOGIN_FAILED");
  assert.equal(guesses, FREE_FAILURES);
});

test("nine failures delay nobody, and a success begins the count anew", async () => {
  const email = await add();
  for (const _ of [1, 2, 3]) {
    await fail(email, FREE_FAILURES - 1);
    assert.equal(await enter(email), undefined);
  }
});

test("the delay is 30 seconds after the tenth failure, doubles with each, and stays at an hour", async () => {
  const email = await add();
  await fail(email, FREE_FAILURES);
  for (const seconds of [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]) {
    await pass(`${seconds - 5} seconds`);
    assert.equal(await isLetThrough(email), false, `${seconds - 5} of ${seconds}`);
    await pass("6 seconds");
    assert.equal(await isLetThrough(email), true, `${seconds}`);
    assert.equal(await isLetThrough(email), false, `again after ${seconds}`);
  }
  await pass("3601 seconds");
  assert.equal(await enter(email), undefined);
});

test("an attempt while the account is delayed counts for nothing and makes it no longer", async () => {
  const email = await add();
  await fail(email, FREE_FAILURES);
  const delayed = await counters();
  await fail(email, 3);
  await enter(email);
  assert.deepEqual(await counters(), delayed);
});

test("to wait until failures are forgotten wins no more guesses than one an hour", async () => {
  const email = await add();
  await fail(email, 9);
  await pass("8 hours 59 minutes");
  await fail(email, 1);
  assert.equal(await isLetThrough(email), false);
  await pass("9 hours 59 minutes");
  assert.equal(await isLetThrough(email), true);
  assert.equal(await isLetThrough(email), false);
  await pass("11 hours 1 minute");
  await fail(email, 9);
  assert.equal(await enter(email), undefined);
});

test("the email is counted in whatever spelling it comes, and no other email with it", async () => {
  const email = await add(`ann.b.${uuidv4()}@people.test`);
  const spellings = [
    email,
    email.toUpperCase(),
    email.replace("ann", "\uff21\uff2e\uff4e"),
    email.replace("@", "\uff20"),
  ];
  for (let at = 0; at < FREE_FAILURES; at++) {
    await fail(spellings[at % spellings.length] ?? email, 1);
  }
  for (const spelling of spellings) {
    assert.equal(await enter(spelling), "LOGIN_FAILED");
  }
  const other = await add(email.replace("ann.b", "annb"));
  assert.equal(await enter(other), undefined);
});

test("an email that nobody has is counted as one that somebody has", async () => {
  const shape = async (email: string) => {
    await fail(email, FREE_FAILURES + 2);
    return (await counters()).map(({ failures, source }) => [failures, source.length]);
  };
  const ofNobody = await shape("nobody@people.test");
  await query(service.connection, "truncate login_counters");
  assert.deepEqual(await shape(await add()), ofNobody);
});

test("strangers' failures do not keep anybody out of where they have logged in before, for 30 days", async () => {
  const email = await add();
  assert.equal(await enter(email), undefined);
  await fail(email, FREE_FAILURES, "198.51.100.1");
  assert.equal(await enter(email, { from: "198.51.100.1" }), "LOGIN_FAILED");
  assert.equal(await enter(email), undefined);
  assert.equal(await enter(email, { from: `::ffff:${HERE}` }), undefined);
  // And a success there does not give the strangers new guesses.
  assert.equal(await enter(email, { from: "198.51.100.1" }), "LOGIN_FAILED");
  await pass("29 days 23 hours");
  await fail(email, FREE_FAILURES, "198.51.100.1");
  assert.equal(await enter(email), undefined);
  await pass("30 days 1 hour");
  await fail(email, FREE_FAILURES, "198.51.100.1");
  assert.equal(await enter(email), "LOGIN_FAILED");
});

test("a known source has a counter of its own, which delays nobody else, and to fail does not keep it known", async () => {
  const email = await add();
  assert.equal(await enter(email), undefined);
  await fail(email, FREE_FAILURES);
  assert.equal(await enter(email), "LOGIN_FAILED");
  assert.equal(guesses, FREE_FAILURES + 1);
  assert.equal(await enter(email, { from: "198.51.100.1" }), undefined);
  await pass("29 days");
  await fail(email, 1);
  await pass("2 days");
  await fail(email, FREE_FAILURES, "192.0.2.1");
  assert.equal(await enter(email), "LOGIN_FAILED");
});

test("what is known of one account is nothing to another", async () => {
  const [one, other] = [await add(), await add()];
  assert.equal(await enter(one), undefined);
  await fail(other, FREE_FAILURES, "198.51.100.1");
  assert.equal(await enter(other), "LOGIN_FAILED");
});

test("an account remembers its last eight sources, so that it never has a hundred free failures", async () => {
  assert.ok((KNOWN_SOURCES + 1) * FREE_FAILURES < 100);
  const email = await add();
  for (let at = 0; at < KNOWN_SOURCES + 3; at++) {
    assert.equal(await enter(email, { from: `192.0.2.${at}` }), undefined);
  }
  assert.equal((await counters()).length, KNOWN_SOURCES);
  await fail(email, FREE_FAILURES, "198.51.100.1");
  const known = [];
  for (let at = 0; at < KNOWN_SOURCES + 3; at++) {
    known.push((await enter(email, { from: `192.0.2.${at}` })) === undefined);
  }
  assert.deepEqual(known, [false, false, false, ...Array<boolean>(KNOWN_SOURCES).fill(true)]);
});

test("many right passwords at once from a new source are all right", async () => {
  const email = await add();
  const logins = Array.from({ length: 40 }, () => enter(email));
  assert.deepEqual(await Promise.all(logins), Array(40).fill(undefined));
});

test("a right password is right also where another replica's attempt, begun later, was counted first", async () => {
  const email = await add();
  await fail(email, 1);
  const sql = "update login_counters set failures = 2, failure_time = now() + interval '1 second'";
  assert.equal(await whileHolding(service.connection, sql, [], () => enter(email)), undefined);
});

test("a source with too many failures over all accounts is told when to come again, whoever it asks for", async () => {
  const by = partsWith(5);
  const email = await add();
  assert.equal(await enter(email, { by }), undefined);
  for (let at = 0; at < 5; at++) {
    assert.equal(await enter(`${uuidv4()}@people.test`, { by, text: "wrong" }), "LOGIN_FAILED");
    // What succeeds is no failure.
    assert.equal(at === 4 || (await enter(email, { by })) === undefined, true);
  }
  const before = await counters();
  for (const [asked, text] of [
    [email, password.text],
    [email, "wrong"],
    ["nobody@people.test", "wrong"],
  ] as const) {
    const refused = await logIn(by, { email: asked, password: text, peerAddress: HERE }).then(
      () => assert.fail(),
      (error: AuthError) => error,
    );
    assert.equal(refused.reason, "LOGIN_THROTTLED");
    const { retryAfterMillis = 0 } = refused;
    assert.ok(retryAfterMillis > 890_000 && retryAfterMillis <= 900_000, String(retryAfterMillis));
  }
  assert.deepEqual(await counters(), before, "no account is counted for it");
  assert.equal(await enter(email, { by, from: "203.0.113.8" }), undefined);
  await pass("14 minutes 50 seconds");
  assert.equal(await enter(email, { by }), "LOGIN_THROTTLED");
  await pass("11 seconds");
  assert.equal(await enter(email, { by }), undefined);
});

test("the addresses of one IPv6 network are one source, and 0 sets no limit", async () => {
  const [by, unlimited] = [partsWith(2), partsWith(0)];
  for (const from of ["2001:db8::1", "2001:db8::2"]) {
    assert.equal(await enter("nobody@people.test", { by, from }), "LOGIN_FAILED");
  }
  assert.equal(await enter("other@people.test", { by, from: "2001:db8::3" }), "LOGIN_THROTTLED");
  assert.equal(await enter("other@people.test", { by, from: "2001:db8:0:1::3" }), "LOGIN_FAILED");
  assert.equal(await enter("other@people.test", { by: unlimited, from: "2001:db8::3" }), "LOGIN_FAILED");
});

test("of many attempts at once from one source at many accounts no more fail than it may", async () => {
  const by = partsWith(12);
  const asked = Array.from({ length: 30 }, (_, at) => enter(`${at}@people.test`, { by, text: "wrong" }));
  const reasons = await Promise.all(asked);
  assert.equal(reasons.filter((reason) => reason === "LOGIN_FAILED").length, 12);
  assert.equal(reasons.filter((reason) => reason === "LOGIN_THROTTLED").length, 18);
  assert.equal((await counters()).length, 12);
});

test("an attempt that was too much for the hasher is no failure, and leaves nothing", async () => {
  const asked = Array.from({ length: 100 }, (_, at) =>
    enter(`${uuidv4()}@people.test`, { from: `192.0.2.${at}`, text: "wrong" }),
  );
  const reasons = await Promise.all(asked);
  const failed = reasons.filter((reason) => reason === "LOGIN_FAILED");
  assert.ok(reasons.includes("PASSWORD_HASHING_BUSY"));
  assert.equal((await counters()).length, failed.length);
});

test("what has ended is thrown away by the attempts that come after it", async () => {
  for (let at = 0; at < 15; at++) {
    await fail(`${at}@people.test`, 1, `192.0.2.${at}`);
  }
  await pass("61 minutes");
  for (const _ of [1, 2]) {
    await fail("nobody@people.test", 1);
  }
  assert.equal((await counters()).length, 1);
  const sources = await query(service.connection, "select from login_sources");
  assert.equal(sources.length, 1);
});

test("neither emails nor addresses are in the counters, and no two accounts know a source by the same name", async () => {
  const emails = [await add(), await add()];
  for (const email of emails) {
    assert.equal(await enter(email), undefined);
  }
  await fail("stranger@people.test", 1);
  const { connection } = service;
  const rows = await query<{ text: string }>(
    connection,
    "select c::text as text from login_counters c union all select s::text from login_sources s",
  );
  const kept = rows.map(({ text }) => text).join();
  for (const secret of [...emails, "stranger@people.test", HERE]) {
    assert.ok(!kept.includes(Buffer.from(secret).toString("hex")), secret);
  }
  const names = await query(connection, "select distinct source from login_counters where source <> ''");
  assert.equal(names.length, 2);
});

test("where the counters cannot be read nobody gets in, and no password is looked at", async () => {
  const email = await add();
  const { connection } = service;
  for (const table of ["login_counters", "login_sources"]) {
    await query(connection, `alter table ${table} rename to elsewhere`);
    try {
      await assert.rejects(
        logIn(parts, { email, password: password.text, peerAddress: HERE }),
        (error) => !(error instanceof AuthError),
      );
    } finally {
      await query(connection, `alter table elsewhere rename to ${table}`);
    }
  }
  assert.equal(guesses, 0);
});

test("a success that cannot be written down is none", async () => {
  const email = await add();
  const { connection } = service;
  await query(connection, "alter table login_counters add constraint no_success check (failures > 0)");
  try {
    await assert.rejects(logIn(parts, { email, password: password.text, peerAddress: HERE }), /no_success/);
  } finally {
    await query(connection, "alter table login_counters drop constraint no_success");
  }
  assert.equal((await counters())[0]?.failures, 1);
});

test("passwords are compared in one place, behind the throttle", () => {
  const comparing = globSync("src/**/*.ts").filter((path) =>
    /passwordHasher\.verify\(/.test(readFileSync(path, "utf8")),
  );
  assert.deepEqual(comparing, ["src/users/login.ts"]);
});

test("of two attempts at the same time, the one that began first and is counted last is not delayed for that", async () => {
  const email = await add();
  await fail(email, 1);
  // The other one began a second later.
  await pass("-1 second");
  assert.equal(await enter(email), undefined);
  await fail(email, FREE_FAILURES);
  await pass("-1 second");
  assert.equal(await enter(email), "LOGIN_FAILED");
});
