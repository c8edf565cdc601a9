import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hash as argon2Hash } from "@node-rs/argon2";
import { Client } from "pg";
import { query } from "../support/cluster.ts";
import { reasonOf } from "../support/refusal.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";
import {
  hashOf,
  ImportMode,
  ImportOutcome,
  importKey,
  importKeys,
  KeyHashAlgorithm,
  type KeyInit,
  keyOf,
  oldKey,
  present,
  randomText,
  refusalOf,
  untilRehashed,
} from "./import.ts";

// Two replicas, so that nothing but the database keeps them apart.
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

const { IMPORTED, UNCHANGED } = ImportOutcome;
const keys = (at = service) => at.client(ApiKeyService, { "x-internal-key": at.internalKey });
const ARGON2 = { hashing: { algorithm: KeyHashAlgorithm.ARGON2 }, mode: ImportMode.BEST_EFFORT } as const;

async function saltedKeyOf(text: string, lookupPrefix = text.slice(0, 16)): Promise<KeyInit> {
  const hash = Buffer.from(await argon2Hash(text, { memoryCost: 1024, timeCost: 1 }));
  return keyOf(text, { hash, lookupPrefix });
}

/** Holds a row of a table until it is let go. */
async function holding(sql: string, values: unknown[]): Promise<{ letGo: () => Promise<void> }> {
  const client = new Client(service.connection);
  await client.connect();
  await client.query("begin");
  await client.query(sql, values);
  return {
    async letGo() {
      await client.query("rollback");
      await client.end();
    },
  };
}

const untilWaiting = (count: number) =>
  until(`${count} wait for a lock`, async () => {
    const rows = await query(
      service.connection,
      "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    return rows.length >= count;
  });

test("of two imports of the same keys at once, one makes them and the other finds them", async () => {
  for (let round = 0; round < 5; round++) {
    const imports = Array.from({ length: 20 }, () => keyOf(oldKey()));
    const both = await Promise.all([service, replica].map((at) => importKeys(at, imports)));
    const outcomes = both.map(({ results }) => [...new Set(results.map(({ outcome }) => outcome))]);
    assert.deepEqual(outcomes.toSorted(), [[IMPORTED], [UNCHANGED]]);
    assert.deepEqual(
      both[0]?.results.map(({ id }) => id),
      both[1]?.results.map(({ id }) => id),
    );
  }
});

test("of many imports that overlap at once, each key is made by one", async () => {
  const pool = Array.from({ length: 30 }, () => keyOf(oldKey()));
  const calls = Array.from({ length: 6 }, (_, at) =>
    [...pool.slice(5 * at), ...pool.slice(0, 5 * at)].slice(0, 15),
  );
  const answers = await Promise.all(
    calls.map((each, at) => importKeys(at % 2 === 0 ? service : replica, each)),
  );
  const made = answers.flatMap(({ results }) => results.filter(({ outcome }) => outcome === IMPORTED));
  assert.equal(made.length, pool.length);
  assert.equal(new Set(answers.flatMap(({ results }) => results.map(({ id }) => id))).size, pool.length);
});

test("a format that two calls declare at once is one", async () => {
  const format = { prefix: "twice_", length: 46, alphabet: 2 } as const;
  await Promise.all(
    Array.from({ length: 6 }, (_, at) =>
      importKeys(at % 2 === 0 ? service : replica, [keyOf(oldKey())], { format }),
    ),
  );
  const rows = await query(service.connection, "select from imported_key_formats where prefix = 'twice_'");
  assert.equal(rows.length, 1);
});

test("of many salted keys that begin alike and come at once, three have a place", async () => {
  for (let round = 0; round < 3; round++) {
    const beginning = oldKey().slice(0, 13);
    const texts = Array.from({ length: 8 }, () => beginning + randomText(27));
    // Some say more of themselves than others: it is the beginning that counts.
    const salted = await Promise.all(
      texts.map((text, at) => saltedKeyOf(text, text.slice(0, 12 + (at % 2)))),
    );
    const answers = await Promise.all(
      salted.map((key, at) => importKeys(at % 2 === 0 ? service : replica, [key], ARGON2)),
    );
    const reasons = answers.flatMap(({ results }) => results.map(({ reason }) => reason));
    const placed = texts.filter((_, at) => reasons[at] === "");
    assert.equal(placed.length, 3, String(reasons));
    assert.ok(reasons.every((reason) => reason === "" || reason === "KEY_LOOKUP_PREFIX_CROWDED"));
    for (const text of placed) {
      assert.equal(await refusalOf(service, text), undefined);
    }
  }
});

test("many first uses at once are all allowed, and put the key into one slot once", async () => {
  for (const salted of [false, true]) {
    const text = oldKey();
    const id = salted
      ? await importKey(service, await saltedKeyOf(text), ARGON2)
      : await importKey(service, keyOf(text));
    const uses = Array.from({ length: 40 }, (_, at) => present(at % 2 === 0 ? service : replica, text));
    for (const { principal } of await Promise.all(uses)) {
      assert.equal(principal?.id, id);
    }
    await untilRehashed(service, id);
    assert.equal((await present(replica, text)).principal?.id, id);
    const slots = await query(service.connection, "select from api_key_slots where api_key_id = $1", [id]);
    const events = await query(
      service.connection,
      "select from audit_events where action = 'api_key.rehash' and target_id = $1",
      [id],
    );
    assert.deepEqual([slots.length, events.length], [1, 1]);
  }
});

test("a key in use is never refused while it moves into its slot", async () => {
  for (const salted of [false, true]) {
    const text = oldKey();
    const id = salted
      ? await importKey(service, await saltedKeyOf(text), ARGON2)
      : await importKey(service, keyOf(text));
    const lock = await holding("select from api_keys where id = $1 for update", [id]);
    const outcomes: (string | undefined)[] = [];
    try {
      // The first use leaves a move that waits; others go on, before, while and after it is made.
      outcomes.push(await refusalOf(service, text));
      await untilWaiting(1);
      outcomes.push(await refusalOf(replica, text));
    } finally {
      await lock.letGo();
    }
    while (!(await hashOf(service, id)).rehashed) {
      outcomes.push(...(await Promise.all([refusalOf(service, text), refusalOf(replica, text)])));
    }
    outcomes.push(await refusalOf(replica, text));
    assert.deepEqual([...new Set(outcomes)], [undefined]);
  }
});

test("a first use beside a revocation: the key ends revoked, whichever was first", async () => {
  for (let round = 0; round < 6; round++) {
    const text = oldKey();
    const id = await importKey(service, keyOf(text));
    const [used] = await Promise.all([refusalOf(replica, text), keys().revokeApiKey({ id })]);
    assert.ok(used === undefined || used === "API_KEY_REVOKED");
    assert.equal(await refusalOf(replica, text), "API_KEY_REVOKED");
    await untilRehashed(service, id);
    assert.equal(await refusalOf(service, text), "API_KEY_REVOKED");
  }
});

test("a first use beside a rotation: both secrets work, and the old one ends", async () => {
  for (let round = 0; round < 6; round++) {
    const text = oldKey();
    const id = await importKey(service, keyOf(text));
    const [used, { secret }] = await Promise.all([
      refusalOf(replica, text),
      keys().rotateApiKey({ id, overlap: { seconds: 3600n } }),
    ]);
    assert.equal(used, undefined);
    await untilRehashed(service, id);
    for (const each of [text, secret]) {
      assert.equal(await refusalOf(replica, each), undefined);
    }
    const { apiKey } = await keys().getApiKey({ id });
    assert.deepEqual(
      apiKey?.slots.map(({ displayPrefix, expireTime }) => [
        displayPrefix === text.slice(0, 8),
        expireTime !== undefined,
      ]),
      [
        [false, false],
        [true, true],
      ],
    );
    await keys().finishRotation({ id });
    assert.equal(await refusalOf(service, text), "API_KEY_ROTATED");
    assert.equal(await refusalOf(service, secret), undefined);
  }
});

test("keys are used while others are imported: nobody waits for an import", async () => {
  const text = oldKey();
  await importKey(service, keyOf(text));
  const lock = await holding("lock table imported_key_formats in share row exclusive mode", []);
  try {
    const importing = reasonOf(importKeys(service, [keyOf(oldKey())]));
    await untilWaiting(1);
    assert.equal(await refusalOf(service, text), undefined);
    assert.equal(await refusalOf(replica, oldKey()), "API_KEY_INVALID");
    await lock.letGo();
    assert.equal(await importing, undefined);
  } finally {
    await lock.letGo().catch(() => {});
  }
});

test("an owner who is disabled while their keys are imported has them, or they were not imported", async () => {
  // The import holds whoever is to own the keys: it is the update that waits.
  const { admin, organizationId } = service;
  const lock = await holding("lock table imported_key_formats in share row exclusive mode", []);
  try {
    const importing = importKeys(service, [keyOf(oldKey())]);
    await untilWaiting(1);
    const disabling = query(
      service.connection,
      "update memberships set disable_time = null where organization_id = $1 and user_id = $2",
      [organizationId, admin.id],
    );
    await untilWaiting(2);
    await lock.letGo();
    assert.equal((await importing).imported, 1);
    await disabling;
  } finally {
    await lock.letGo().catch(() => {});
  }
});
