import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { AuthError } from "../../src/errors.ts";
import { readImportedHash } from "../../src/users/imported-password/imported-password.ts";
import { type LoginParts, logIn } from "../../src/users/login.ts";
import { createLoginThrottle, FREE_FAILURES } from "../../src/users/login-throttle.ts";
import type { StoredHash } from "../../src/users/password.ts";
import { addUser } from "../access/cast.ts";
import { OLD_HASH } from "../imported-users/people.ts";
import { query } from "../support/cluster.ts";
import { startService, type TestService } from "../support/service.ts";

// What work each failing login does: which hash is checked, whoever it is of. Nothing is hashed here.

const OWN = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";
const IMPORTED = readImportedHash(OLD_HASH) ?? "";

let service: TestService;
let parts: LoginParts;
let asked: StoredHash[] = [];

before(async () => {
  service = await startService();
  const { storage, keyHasher, passwordHasher } = service.core;
  parts = {
    storage,
    passwordHasher: {
      ...passwordHasher,
      async verify(_password, stored) {
        asked.push(typeof stored === "function" ? await stored() : stored);
        return false;
      },
    },
    loginThrottle: createLoginThrottle({
      storage,
      key: keyHasher.deriveKey("login throttle"),
      sourceLimit: 0,
    }),
  };
  // The seeded administrator is one of many.
  for (let at = 0; at < 60; at++) {
    await add(at % 2 === 0 ? IMPORTED : OWN);
  }
});
after(() => service.stop());

async function add(hash: string, more: { readonly disabled?: boolean } = {}): Promise<string> {
  const { core, organizationId } = service;
  return (await addUser(core, { organizationId, role: "member", password: { hash }, ...more })).email;
}

/** What a failing login was compared with. */
async function workOf(email: string): Promise<StoredHash> {
  asked = [];
  const reason = await logIn(parts, { email, password: "x", peerAddress: "203.0.113.7" }).catch(
    (error: unknown) => (error instanceof AuthError ? error.reason : error),
  );
  assert.equal(reason, "LOGIN_FAILED");
  assert.equal(asked.length, 1);
  return asked[0];
}

const decoyOf = (work: StoredHash) => (typeof work === "object" ? work.decoy : assert.fail("was no decoy"));

test("a person's own hash is checked, also where they are disabled; of whoever is delayed, as a decoy", async () => {
  for (const hash of [OWN, IMPORTED]) {
    const email = await add(hash);
    assert.equal(await workOf(email), hash);
    assert.equal(await workOf(await add(hash, { disabled: true })), hash);
    for (let at = 1; at < FREE_FAILURES; at++) {
      await workOf(email);
    }
    assert.deepEqual(await workOf(email), { decoy: hash });
  }
});

test("an email that nobody has does the work of somebody's, always the same one's", async () => {
  const known = new Set(
    (await query<{ hash: string }>(service.connection, "select password_hash as hash from users")).map(
      ({ hash }) => hash,
    ),
  );
  for (let at = 0; at < 10; at++) {
    const email = `${uuidv4()}@nobody.test`;
    const decoy = decoyOf(await workOf(email));
    assert.ok(known.has(decoy ?? ""));
    assert.equal(decoyOf(await workOf(email.toUpperCase())), decoy);
  }
});

test("the hash of another system is the decoy as often as it is somebody's", async () => {
  const [{ share = 0 } = {}] = await query<{ share: number }>(
    service.connection,
    "select avg((password_hash like 'imported:%')::int)::float8 as share from users",
  );
  const rounds = 200;
  let imported = 0;
  for (let at = 0; at < rounds; at++) {
    imported += decoyOf(await workOf(`${uuidv4()}@nobody.test`))?.startsWith("imported:") ? 1 : 0;
  }
  // So few random ids part the space of ids unevenly: each stands for as much of it as lies before it.
  assert.ok(Math.abs(imported / rounds - share) < 0.4, `${imported / rounds}, not ${share}`);
});
