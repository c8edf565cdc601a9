import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { decodeProtectedHeader } from "jose";
import { Client } from "pg";
import { loadSigningKeys } from "../../src/credentials/signing-key/signing-keys.ts";
import {
  type SigningKey,
  SigningKeyService,
  SigningKeyState,
} from "../../src/gen/latchkey/v1/signing_key_pb.ts";
import { LOCKS } from "../../src/storage/locks.ts";
import { addServiceKey, addSigningKey } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { whileHolding } from "../users/while-holding.ts";
import { passMinutes } from "./signing-key-times.ts";

const { NEXT, ACTIVE, RETIRED, GONE, REVOKED } = SigningKeyState;
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

let service: TestService;
let replica: TestService;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const keysOf = (on: TestService) => on.client(SigningKeyService, { "x-internal-key": service.internalKey });

async function list(on = service): Promise<SigningKey[]> {
  const all: SigningKey[] = [];
  let pageToken = "";
  do {
    const page = await keysOf(on).listSigningKeys({ pageSize: 250, pageToken });
    all.push(...page.signingKeys);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return all;
}

async function inState(state: SigningKeyState): Promise<string[]> {
  return (await list()).filter((key) => key.state === state).map(({ id }) => id);
}

async function only(state: SigningKeyState): Promise<string> {
  const [id, ...others] = await inState(state);
  assert.deepEqual(others, []);
  return id ?? assert.fail(`no key is in the state ${state}`);
}

const rotate = async (on = service) => (await keysOf(on).rotateSigningKey({})).signingKey ?? assert.fail();
const revoke = async (id: string, on = service) =>
  (await keysOf(on).revokeSigningKey({ id, reason: "test" })).signingKey ?? assert.fail();
const kidOf = (token: string) => decodeProtectedHeader(token).kid;

const verdict = (token: string, on = service) =>
  reasonOf(
    on.client(AuthenticationService).authenticate({
      headers: [{ name: "Authorization", value: `Bearer ${token}` }],
    }),
  );

async function published(on = service): Promise<string[]> {
  const response = await fetch(`${on.url}/.well-known/jwks.json`);
  return ((await response.json()) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
}

/** Where there is a next key it takes its turn. */
async function settle(): Promise<void> {
  if ((await inState(NEXT)).length > 0) {
    await passMinutes(service.connection, 21);
  }
}

test("a next key is published at once by every replica, and signs no earlier than 15 minutes later", async () => {
  await settle();
  const old = await only(ACTIVE);
  const next = await rotate();
  assert.deepEqual([next.state, next.algorithm, next.retireTime], [NEXT, "ES256", undefined]);
  const ahead =
    timestampMs(next.activateTime ?? assert.fail()) - timestampMs(next.publishTime ?? assert.fail());
  assert.ok(ahead >= 15 * MINUTE, String(ahead));
  assert.ok((await published()).includes(next.id), "where it was made");
  await until("the other replica publishes it", async () => (await published(replica)).includes(next.id));

  await passMinutes(service.connection, 15);
  for (const on of [service, replica]) {
    assert.equal(kidOf(await on.logIn()), old);
  }
  await passMinutes(service.connection, 6);
  for (const on of [service, replica]) {
    assert.equal(kidOf(await on.logIn()), next.id);
  }
  assert.deepEqual([await only(ACTIVE), (await inState(RETIRED)).includes(old)], [next.id, true]);
});

test("a key that has retired stays published while its last token lives and longer than clocks differ, and is then gone", async () => {
  await settle();
  const token = await service.logIn();
  const old = await only(ACTIVE);
  await rotate();
  await passMinutes(service.connection, 21);
  const retired = (await list()).find(({ id }) => id === old);
  const [retireTime, removeTime] = [retired?.retireTime, retired?.removeTime];
  assert.ok(retireTime && removeTime);
  assert.ok(timestampMs(removeTime) - timestampMs(retireTime) > DAY + 30_000);

  await passMinutes(service.connection, 24 * 60);
  for (const on of [service, replica]) {
    assert.ok((await published(on)).includes(old));
    assert.equal(await verdict(token, on), undefined);
  }
  await passMinutes(service.connection, 60);
  assert.ok((await inState(GONE)).includes(old));
  for (const on of [service, replica]) {
    await until("it is published no more", async () => !(await published(on)).includes(old));
    // The clock of this test's token has stood still: its own end is a day away.
    assert.equal(await verdict(token, on), "TOKEN_EXPIRED");
  }
  await revoke(old);
  assert.equal(await verdict(token), "TOKEN_REVOKED");
});

test("of many at once who rotate, on two replicas, one makes a key and all are told of it", async () => {
  await settle();
  const before = (await list()).length;
  const answers = await Promise.all(Array.from({ length: 8 }, (_, at) => rotate(at % 2 ? service : replica)));
  const next = await only(NEXT);
  assert.deepEqual(new Set(answers.map(({ id }) => id)), new Set([next]));
  assert.equal((await list()).length, before + 1);
  const events = await query(
    service.connection,
    "select from audit_events where target_id = $1 and action = 'signing_key.rotate'",
    [next],
  );
  assert.equal(events.length, 1);
  assert.equal((await rotate()).id, next, "and so is who comes later");
});

test("a key that has signed for 90 days gets a successor without being asked, one however many replicas there are", async () => {
  await settle();
  const old = await only(ACTIVE);
  const before = (await list()).length;
  const age = 89 * 24 * 60 + 23 * 60;
  await passMinutes(service.connection, age);
  await Promise.all([published(service), published(replica)]);
  await passMinutes(service.connection, 60);
  await until("there is a next key", async () => (await inState(NEXT)).length > 0);
  const next = await only(NEXT);
  for (const on of [service, replica]) {
    await until("it is published", async () => (await published(on)).includes(next));
  }
  assert.equal((await list()).length, before + 1, "and it was too early an hour before");
  const [event] = await query<{ actor_type: string; detail: { before: { active: string } } }>(
    service.connection,
    "select actor_type, detail from audit_events where target_id = $1",
    [next],
  );
  assert.deepEqual([event?.actor_type, event?.detail.before.active], ["operator", old]);
  await passMinutes(service.connection, 21);
  assert.equal(kidOf(await replica.logIn()), next);
});

test("of many processes that find it due at the same moment, one makes a key", async () => {
  await settle();
  await passMinutes(service.connection, 91 * 24 * 60);
  const before = (await list()).length;
  const { storage, seal } = service.core;
  const log = { info: () => {}, warn: (...told: unknown[]) => assert.fail(String(told)) };
  const options = { storage, seal, algorithm: "ES256", days: 90, log } as const;
  const all = await Promise.all(Array.from({ length: 6 }, () => loadSigningKeys(options)));
  const next = await only(NEXT);
  assert.equal((await list()).length, before + 1);
  assert.ok(all.every((keys) => keys.find(next) !== undefined));
});

test("while the database is away the keys are published as they were last seen, and at once", async () => {
  let isAway = false;
  const cut = await startService({
    beside: service,
    wrapCore: (core) => ({
      ...core,
      storage: {
        ...core.storage,
        inBackground: (name, sql, values) =>
          isAway ? Promise.reject(new Error("away")) : core.storage.inBackground(name, sql, values),
      },
    }),
  });
  try {
    const before = await published(cut);
    isAway = true;
    const warnings = () =>
      cut.logged.filter((line) => line.includes("signing keys could not be looked after"));
    await until("it is noticed", async () => {
      await published(cut);
      return warnings().length > 0;
    });
    for (let count = 0; count < 5; count++) {
      assert.deepEqual(await published(cut), before);
    }
    assert.equal(warnings().length, 1, "and told once");
    isAway = false;
    const next = await rotate();
    await until("it sees again", async () => (await published(cut)).includes(next.id));
  } finally {
    await cut.stop();
  }
});

test("with 0 days a key signs until somebody rotates it", async () => {
  const alone = await startService({ signingKeyDays: 0 });
  try {
    const [first] = await published(alone);
    await passMinutes(alone.connection, 10 * 365 * 24 * 60);
    const other = await startService({ beside: alone, signingKeyDays: 0 });
    await other.stop();
    assert.deepEqual(await published(alone), [first]);
    assert.equal(kidOf(await alone.logIn()), first);
    const due = await startService({ beside: alone, signingKeyDays: 3650 });
    assert.equal((await published(due)).length, 2, "which it would not with any");
    await due.stop();
  } finally {
    await alone.stop();
  }
});

test("a crash at any moment of a rotation leaves it undone or done, and who comes next goes on from there", async (t) => {
  await settle();
  const before = await list();
  const holder = new Client(service.connection);
  await holder.connect();
  t.after(() => holder.end());
  await holder.query("select pg_advisory_lock_shared($1)", [LOCKS.signingKey]);
  const call = reasonOf(rotate());
  const waiting = () =>
    query<{ pid: number }>(
      service.connection,
      "select pid from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())",
    );
  await until("the rotation waits", async () => (await waiting()).length > 0);
  for (const { pid } of await waiting()) {
    await query(service.connection, "select pg_terminate_backend($1)", [pid]);
  }
  assert.notEqual(await call, undefined);
  assert.deepEqual(
    (await list()).map(({ id, state }) => [id, state]),
    before.map(({ id, state }) => [id, state]),
    "undone",
  );
  await holder.query("select pg_advisory_unlock_all()");

  const next = await rotate();
  // Whoever made it is gone for good: a replica that knows nothing of it takes its turn when that comes.
  await passMinutes(service.connection, 21);
  const fresh = await startService({ beside: service });
  try {
    assert.equal(kidOf(await fresh.logIn()), next.id);
  } finally {
    await fresh.stop();
  }
});

test("a revoked key's tokens are refused by the next call on every replica, and another signs at once", async () => {
  await settle();
  const old = await only(ACTIVE);
  const tokens = [await service.logIn(), await replica.logIn()];
  const revoked = await revoke(old);
  assert.deepEqual([revoked.state, revoked.revokeReason], [REVOKED, "test"]);
  for (const on of [replica, service]) {
    for (const token of tokens) {
      assert.equal(await verdict(token, on), "TOKEN_REVOKED");
    }
  }
  const active = await only(ACTIVE);
  assert.notEqual(active, old);
  for (const on of [replica, service]) {
    const token = await on.logIn();
    assert.equal(kidOf(token), active);
    for (const asked of [replica, service]) {
      assert.equal(await verdict(token, asked), undefined);
      await until("it is published", async () => (await published(asked)).includes(active));
      assert.ok(!(await published(asked)).includes(old));
    }
  }
});

test("where a next key waits, it is the one that signs at once; nothing is made", async () => {
  await settle();
  const [old, next] = [await only(ACTIVE), (await rotate()).id];
  const before = (await list()).length;
  await revoke(old, replica);
  assert.equal(await only(ACTIVE), next);
  assert.equal((await list()).length, before);
  assert.equal(kidOf(await service.logIn()), next);
  const key = (await list()).find(({ id }) => id === next);
  assert.deepEqual([key?.retireTime, key?.removeTime], [undefined, undefined]);
});

test("where the next key is revoked, the one that signs goes on, until it is rotated again", async () => {
  await settle();
  const [old, next] = [await only(ACTIVE), (await rotate()).id];
  await revoke(next);
  const key = (await list()).find(({ id }) => id === old);
  assert.deepEqual([key?.state, key?.retireTime, key?.removeTime], [ACTIVE, undefined, undefined]);
  await passMinutes(service.connection, 21);
  assert.equal(kidOf(await service.logIn()), old);
  assert.notEqual((await rotate()).id, next);
});

test("a key that has retired can be revoked too; the one that signs is not touched", async () => {
  await settle();
  const token = await service.logIn();
  const old = kidOf(token) ?? assert.fail();
  await rotate();
  await passMinutes(service.connection, 21);
  const active = await only(ACTIVE);
  await revoke(old);
  assert.equal(await verdict(token, replica), "TOKEN_REVOKED");
  assert.equal(await only(ACTIVE), active);
  const again = await keysOf(service).revokeSigningKey({ id: old, reason: "again" });
  assert.equal(again.signingKey?.revokeReason, "test", "and stays as it was");
  await refusedWith("NOT_FOUND", revoke("A".repeat(43)));
});

test("under load, no token that anybody gets after a revocation is by the revoked key", async () => {
  await settle();
  const old = await only(ACTIVE);
  let isRevoked = false;
  const issued: { token: string; isAfter: boolean }[] = [];
  const logIn = async (on: TestService) => {
    const isAfter = isRevoked;
    issued.push({ token: await on.logIn(), isAfter });
  };
  const load = async (on: TestService) => {
    for (let count = 0; count < 3 || (!isRevoked && count < 20); count++) {
      await logIn(on);
    }
    await logIn(on);
  };
  const all = Promise.all([load(service), load(replica), load(service)]);
  await until("there is load", () => issued.length > 1);
  await revoke(old, replica);
  isRevoked = true;
  await all;
  assert.ok(
    issued.some(({ token }) => kidOf(token) === old),
    "some were before",
  );
  for (const { token, isAfter } of issued) {
    const isByOld = kidOf(token) === old;
    assert.ok(!(isAfter && isByOld));
    assert.equal(await verdict(token, service), isByOld ? "TOKEN_REVOKED" : undefined);
  }
});

test("a revocation waits for what is being signed, and whoever comes after it signs with another key", async () => {
  await settle();
  const old = await only(ACTIVE);
  let later: Promise<string> | undefined;
  const revoked = await whileHolding(
    service.connection,
    "select pg_advisory_xact_lock_shared($1)",
    [LOCKS.signingKey],
    async () => {
      const call = revoke(old);
      await until("it waits", async () => {
        const waiting = await query(service.connection, "select from pg_locks where not granted");
        return waiting.length > 0;
      });
      later = replica.logIn();
      return await call;
    },
  );
  assert.equal(revoked.state, REVOKED);
  assert.notEqual(kidOf(await (later ?? assert.fail())), old);
});

test("what signs no more has no private part any more", async () => {
  await settle();
  const old = await only(ACTIVE);
  await rotate();
  await passMinutes(service.connection, 25);
  const keeps = async (kid: string) => {
    const sql = "select sealed_private_key is not null as keeps from signing_keys where kid = $1";
    return (await query<{ keeps: boolean }>(service.connection, sql, [kid]))[0]?.keeps;
  };
  await until("the retired key's is erased", async () => !(await keeps(old)));
  const active = await only(ACTIVE);
  assert.equal(await keeps(active), true);
  await revoke(active);
  assert.equal(await keeps(active), false);
});

test("a changed algorithm makes a next key of it, once, and tokens of both are good everywhere", async () => {
  await settle();
  for (const signingAlgorithm of ["EdDSA", "RS256", "ES256"] as const) {
    const before = await service.logIn();
    const changed = await startService({ beside: service, signingAlgorithm });
    try {
      const next = (await list()).find(({ state }) => state === NEXT);
      assert.equal(next?.algorithm, signingAlgorithm);
      assert.equal(kidOf(await changed.logIn()), kidOf(before), "it waits for its turn");
      await passMinutes(service.connection, 21);
      const tokens = [before, await changed.logIn(), await service.logIn()];
      assert.deepEqual(
        tokens.slice(1).map((token) => decodeProtectedHeader(token).alg),
        [signingAlgorithm, signingAlgorithm],
      );
      for (const on of [service, replica, changed]) {
        for (const token of tokens) {
          assert.equal(await verdict(token, on), undefined, signingAlgorithm);
        }
      }
      // Replicas of another setting are there all the time: they do not take turns.
      assert.deepEqual(await inState(NEXT), []);
    } finally {
      await changed.stop();
    }
  }
  const [modulus] = await query<{ bytes: number }>(
    service.connection,
    `select length(decode(translate(public_jwk->>'n', '-_', '+/'), 'base64')) as bytes
    from signing_keys where algorithm = 'RS256'`,
  );
  assert.equal(modulus?.bytes, 3072 / 8);
});

test("the published keys hold what verifiers need, may be kept for five minutes, and nothing of the private parts", async () => {
  for (const algorithm of ["ES256", "EdDSA", "RS256"] as const) {
    await addSigningKey(service.core, algorithm);
  }
  await until("they are published", async () => (await published()).length > 3);
  const response = await fetch(`${service.url}/.well-known/jwks.json`);
  assert.equal(response.headers.get("content-type"), "application/jwk-set+json");
  assert.equal(response.headers.get("cache-control"), "public, max-age=300");
  const { keys } = (await response.json()) as { keys: Record<string, string>[] };
  const members: Readonly<Record<string, readonly string[]>> = {
    ES256: ["alg", "crv", "kid", "kty", "use", "x", "y"],
    EdDSA: ["alg", "crv", "kid", "kty", "use", "x"],
    RS256: ["alg", "e", "kid", "kty", "n", "use"],
  };
  for (const key of keys) {
    assert.deepEqual(Object.keys(key).toSorted(), members[key["alg"] ?? ""]);
  }
  assert.deepEqual(new Set(keys.map((key) => key["alg"])), new Set(Object.keys(members)));
});

test("whoever discovers by RFC 8414 finds the issuer and the keys, also where the issuer has a path", async () => {
  const path = "/.well-known/oauth-authorization-server";
  const metadata = {
    issuer: "https://latchkey.test",
    jwks_uri: "https://latchkey.test/.well-known/jwks.json",
    response_types_supported: [],
    grant_types_supported: [],
  };
  const plain = await fetch(`${service.url}${path}`);
  assert.deepEqual(await plain.json(), metadata);
  assert.equal(plain.headers.get("content-type"), "application/json");
  assert.equal((await fetch(`${service.url}${path}/auth`)).status, 404);
  assert.equal((await fetch(`${service.url}${path}`, { method: "POST" })).status, 405);
  const issuer = "https://example.test/auth";
  const below = await startService({ beside: service, publicUrl: issuer });
  try {
    const told = (await (await fetch(`${below.url}${path}/auth`)).json()) as Record<string, unknown>;
    assert.deepEqual([told["issuer"], told["jwks_uri"]], [issuer, `${issuer}/.well-known/jwks.json`]);
  } finally {
    await below.stop();
  }
});

test("only the platform's permissions reach the signing keys, and each its own methods", async () => {
  const clientOf = async (...permissions: string[]) => {
    const { text } = await addServiceKey(service.core, { permissions });
    return service.client(SigningKeyService, { "x-internal-key": text });
  };
  const reader = await clientOf("platform.signing_keys.read");
  await reader.listSigningKeys({});
  await refusedWith("PERMISSION_DENIED", reader.rotateSigningKey({}));
  await refusedWith("PERMISSION_DENIED", reader.revokeSigningKey({ id: await only(ACTIVE) }));
  const writer = await clientOf("platform.signing_keys.write");
  await refusedWith("PERMISSION_DENIED", writer.listSigningKeys({}));
  const stranger = await clientOf("auth.*", "*.read");
  await refusedWith("PERMISSION_DENIED", stranger.rotateSigningKey({}));
});

test("the list is told by pages, each key once, oldest first, without a private part", async () => {
  const all = await list();
  const ids: string[] = [];
  let pageToken = "";
  do {
    const page = await keysOf(service).listSigningKeys({ pageSize: 2, pageToken });
    ids.push(...page.signingKeys.map(({ id }) => id));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(
    ids,
    all.map(({ id }) => id),
  );
  assert.equal(new Set(ids).size, ids.length);
});

test("whatever is done and however much time goes by, one key signs, it is published, and no revoked one does", async () => {
  const alone = await startService({ signingKeyDays: 0 });
  const client = alone.client(SigningKeyService, { "x-internal-key": alone.internalKey });
  const everyKey = async () => (await client.listSigningKeys({ pageSize: 250 })).signingKeys;
  const steps = fc.array(
    fc.oneof(
      fc.constant({ do: "rotate" } as const),
      fc.record({ do: fc.constant("revoke" as const), which: fc.constantFrom(NEXT, ACTIVE, RETIRED, GONE) }),
      fc.record({ do: fc.constant("pass" as const), minutes: fc.constantFrom(1, 19, 21, 24 * 60, 26 * 60) }),
    ),
    { minLength: 1, maxLength: 8 },
  );
  try {
    await fc.assert(
      fc.asyncProperty(steps, async (script) => {
        for (const step of script) {
          const before = await everyKey();
          if (step.do === "rotate") {
            await client.rotateSigningKey({});
          } else if (step.do === "pass") {
            await passMinutes(alone.connection, step.minutes);
          } else {
            const id = before.findLast(({ state }) => state === step.which)?.id;
            if (id !== undefined) {
              await client.revokeSigningKey({ id });
            }
          }
          const now = await everyKey();
          const of = (state: SigningKeyState) => now.filter((key) => key.state === state);
          const [active, ...others] = of(ACTIVE);
          assert.ok(active && others.length === 0 && of(NEXT).length <= 1);
          for (const { id, state } of now) {
            const isPublished = state === NEXT || state === ACTIVE || state === RETIRED;
            // What time alone has changed is seen with the next look.
            await until("published", async () => (await published(alone)).includes(id) === isPublished);
          }
          const [row] = await query<{ kid: string }>(
            alone.connection,
            "select kid from signing_keys where kid = $1 and sealed_private_key is not null and revoke_time is null",
            [active.id],
          );
          assert.equal(row?.kid, active.id, "and can");
          for (const { retireTime, removeTime } of now) {
            assert.equal(retireTime === undefined, removeTime === undefined);
            if (retireTime && removeTime) {
              assert.ok(timestampMs(removeTime) - timestampMs(retireTime) > DAY + 30_000);
            }
          }
        }
      }),
      { numRuns: 10 },
    );
  } finally {
    await alone.stop();
  }
});
