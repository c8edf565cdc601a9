import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import type { HeldSecret } from "../../src/authenticate/trace.ts";
import { entities } from "../../src/entities.ts";
import { createLog } from "../../src/server/log.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { openStorage, type Storage } from "../../src/storage/open-storage.ts";
import { readDailyUsage, readLastUses } from "../../src/usage/read-usage.ts";
import { UsageRecorder, type UsageRecorderOptions } from "../../src/usage/usage-recorder.ts";
import { lockTable } from "../cli/lock-table.ts";
import { statementsOf } from "../storage/statements.ts";
import { createDatabase, query } from "../support/cluster.ts";
import { until } from "../support/until.ts";

const DAY = 86_400_000;

let connection: DatabaseConnection;
let storage: Storage;
let other: Storage;
before(async () => {
  connection = await createDatabase();
  const open = () => openStorage({ connection, entities, onIdleError: () => {} });
  [storage, other] = await Promise.all([open(), open()]);
});
after(async () => {
  await storage.close();
  await other.close();
});

function newSecret(keyId = uuidv4()): HeldSecret {
  const lookupId = uuidv4();
  return { type: "api_key", keyId, lookupId, displayPrefix: `ak_${lookupId}` };
}

function startRecorder(options: Partial<UsageRecorderOptions> = {}) {
  const logged: { level: number; msg: string; uses?: number }[] = [];
  const log = createLog("trace", { write: (line: string) => logged.push(JSON.parse(line)) });
  return { recorder: new UsageRecorder({ storage, log, ...options }), logged };
}

const allowed = { isAllowed: true, clientAddress: "192.0.2.1" };
const refused = { isAllowed: false, clientAddress: "" };

async function sumsOf(secrets: readonly HeldSecret[]): Promise<{ allowed: number; refused: number }> {
  const [sums] = await query<{ allowed: number; refused: number }>(
    connection,
    `select coalesce(sum(allowed), 0)::int as allowed, coalesce(sum(refused), 0)::int as refused
     from key_usage where lookup_id = any($1)`,
    [secrets.map(({ lookupId }) => lookupId)],
  );
  return sums ?? assert.fail();
}

test("replicas that write at once, over and over, write exactly what was counted", async () => {
  const secrets = Array.from({ length: 50 }, () => newSecret());
  const recorders = [storage, other, storage].map((each) => startRecorder({ storage: each }).recorder);
  const expected = { allowed: 0, refused: 0 };
  for (let round = 0; round < 20; round++) {
    const flushes = recorders.map(async (recorder, at) => {
      // In another order each, so that their rows cross.
      for (const secret of at === 0 ? secrets : secrets.toReversed()) {
        const use = (round + at) % 3 === 0 ? refused : allowed;
        expected[use.isAllowed ? "allowed" : "refused"]++;
        recorder.count(secret, use);
      }
      await recorder.flush();
    });
    await Promise.all(flushes);
  }
  await Promise.all(recorders.map((recorder) => recorder.close()));
  assert.deepEqual(await sumsOf(secrets), expected);
});

test("a flush is one statement, however many keys were used", async () => {
  const { recorder } = startRecorder();
  recorder.count(newSecret(), allowed);
  // The first flush also looks for what is too old.
  await recorder.flush();
  const secrets = Array.from({ length: 2_000 }, () => newSecret());
  const statements = await statementsOf(async () => {
    for (const secret of [...secrets, ...secrets]) {
      recorder.count(secret, allowed);
    }
    await recorder.flush();
  }, "background");
  assert.equal(statements.length, 1, statements.join("\n"));
  assert.deepEqual(await sumsOf(secrets), { allowed: 4_000, refused: 0 });
});

test("100,000 uses of 1,000 keys, with a flush on the way and the end, are a few statements", async () => {
  const { recorder } = startRecorder();
  const secrets = Array.from({ length: 1_000 }, () => newSecret());
  const statements = await statementsOf(async () => {
    for (let round = 0; round < 100; round++) {
      for (const secret of secrets) {
        recorder.count(secret, allowed);
      }
      if (round === 50) {
        await recorder.flush();
      }
    }
    await recorder.close();
  }, "background");
  // Two that write, and one that forgets what is too old.
  assert.ok(statements.length <= 3, statements.join("\n"));
  assert.deepEqual(await sumsOf(secrets), { allowed: 100_000, refused: 0 });
});

test("where there is nothing to write, nothing is sent", async () => {
  const { recorder } = startRecorder();
  assert.deepEqual(await statementsOf(() => recorder.flush(), "background"), []);
});

test("uses are written by themselves, again and again, after a failure too", async () => {
  let isAway = false;
  const flaky: Storage = {
    ...storage,
    inBackground: (name, sql, values) =>
      isAway ? Promise.reject(new Error("away")) : storage.inBackground<never>(name, sql, values),
  };
  const { recorder, logged } = startRecorder({ storage: flaky, flushMillis: 50 });
  const secret = newSecret();
  recorder.count(secret, allowed);
  await until("they are written", async () => (await sumsOf([secret])).allowed === 1);
  recorder.count(secret, allowed);
  await until("they are written", async () => (await sumsOf([secret])).allowed === 2);
  isAway = true;
  recorder.count(secret, allowed);
  await until("it has failed", () => logged.length > 0);
  isAway = false;
  await until("they are written", async () => (await sumsOf([secret])).allowed === 3);
});

const FAILURES: readonly { what: string; breaks: string; mends: string }[] = [
  {
    what: "the table cannot be written to",
    breaks:
      "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$; " +
      "create trigger refuse before insert on key_usage for each row execute function refuse()",
    mends: "drop trigger refuse on key_usage; drop function refuse()",
  },
  {
    what: "the table is not there",
    breaks: "alter table key_usage rename to key_usage_away",
    mends: "alter table key_usage_away rename to key_usage",
  },
  {
    what: "the row of one of many keys is refused",
    breaks: "alter table key_usage add constraint odd check (display_prefix <> 'refuse me') not valid",
    mends: "alter table key_usage drop constraint odd",
  },
];
for (const { what, breaks, mends } of FAILURES) {
  test(`where ${what}, no use is lost, and none is counted twice`, async () => {
    const { recorder, logged } = startRecorder();
    const secrets = [newSecret(), newSecret(), { ...newSecret(), displayPrefix: "refuse me" }];
    const countAll = () => {
      for (const secret of secrets) {
        recorder.count(secret, allowed);
      }
    };
    countAll();
    await query(connection, breaks);
    try {
      for (let round = 0; round < 3; round++) {
        await recorder.flush();
        countAll();
      }
    } finally {
      await query(connection, mends);
    }
    assert.deepEqual(await sumsOf(secrets), { allowed: 0, refused: 0 });
    await recorder.close();
    assert.deepEqual(await sumsOf(secrets), { allowed: 12, refused: 0 });
    assert.equal(logged.filter(({ level }) => level === 40).length, 1, "it is told once");
  });
}

test("uses that come while a write is under way, and fails, are counted once", async (t) => {
  const { recorder } = startRecorder();
  const secret = newSecret();
  recorder.count(secret, allowed);
  const lock = await lockTable(t, connection, "key_usage");
  const flush = recorder.flush();
  await lock.blocks();
  recorder.count(secret, allowed);
  recorder.count(secret, refused);
  await query(
    connection,
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name = 'latchkey background' and wait_event_type = 'Lock'`,
  );
  await flush;
  await lock.release();
  assert.deepEqual(await sumsOf([secret]), { allowed: 0, refused: 0 });
  await recorder.close();
  assert.deepEqual(await sumsOf([secret]), { allowed: 2, refused: 1 });
});

test("closing waits for the write under way, and writes what came after it", async (t) => {
  const { recorder } = startRecorder();
  const secret = newSecret();
  recorder.count(secret, allowed);
  const lock = await lockTable(t, connection, "key_usage");
  void recorder.flush();
  await lock.blocks();
  recorder.count(secret, allowed);
  const closed = recorder.close();
  await lock.release();
  await closed;
  assert.deepEqual(await sumsOf([secret]), { allowed: 2, refused: 0 });
});

test("closing tells of uses that cannot be written any more", async () => {
  const gone: Storage = { ...storage, inBackground: () => Promise.reject(new Error("gone")) };
  const { recorder, logged } = startRecorder({ storage: gone });
  recorder.count(newSecret(), allowed);
  await recorder.close();
  assert.ok(logged.some(({ level, msg }) => level === 50 && /lost/.test(msg)));
});

test("a connection that is lost once the write is done counts its uses twice, never not at all", async () => {
  let isLost = true;
  const losing: Storage = {
    ...storage,
    async inBackground(name, sql, values) {
      const row = await storage.inBackground<never>(name, sql, values);
      if (isLost) {
        isLost = false;
        throw new Error("Connection terminated unexpectedly");
      }
      return row;
    },
  };
  const { recorder } = startRecorder({ storage: losing });
  const secret = newSecret();
  recorder.count(secret, allowed);
  await recorder.flush();
  await recorder.close();
  assert.deepEqual(await sumsOf([secret]), { allowed: 2, refused: 0 });
});

test("while the database is away, memory is bounded: uses of further keys are lost, and it is told once", async () => {
  let isAway = true;
  const flaky: Storage = {
    ...storage,
    inBackground: (name, sql, values) =>
      isAway ? Promise.reject(new Error("away")) : storage.inBackground<never>(name, sql, values),
  };
  const { recorder, logged } = startRecorder({ storage: flaky, most: 10 });
  const secrets = Array.from({ length: 40 }, () => newSecret());
  const rounds = 3;
  for (let round = 0; round < rounds; round++) {
    for (const secret of secrets) {
      recorder.count(secret, allowed);
    }
    await recorder.flush();
  }
  isAway = false;
  await recorder.close();
  const errors = logged.filter(({ level }) => level === 50);
  assert.equal(errors.length, 2, JSON.stringify(errors));
  const lost = errors.find(({ uses }) => uses !== undefined)?.uses ?? assert.fail();
  assert.ok(lost >= (secrets.length - 20) * rounds, "not more than twice as many secrets are kept");
  assert.deepEqual(await sumsOf(secrets), { allowed: secrets.length * rounds - lost, refused: 0 });
});

test("many keys in use at once are written before their time", async () => {
  const { recorder } = startRecorder({ most: 100 });
  const secrets = Array.from({ length: 50 }, () => newSecret());
  const statements = await statementsOf(async () => {
    for (const secret of secrets) {
      recorder.count(secret, allowed);
    }
    await until("they are written", async () => (await sumsOf(secrets)).allowed === 50, { within: 4_000 });
  }, "background");
  assert.ok(statements.length > 0);
});

test("the last use only moves forwards, whichever replica writes it, and its address is of that use", async () => {
  const secret = newSecret();
  const noon = Date.parse("2026-01-31T12:00:00Z");
  const useAt = async (now: number, clientAddress: string) => {
    const { recorder } = startRecorder({ clock: () => now });
    recorder.count(secret, { isAllowed: true, clientAddress });
    await recorder.close();
    return (await readLastUses(storage.fork(), [secret.lookupId])).get(secret.lookupId);
  };
  assert.deepEqual(await useAt(noon, "192.0.2.1"), { time: new Date(noon), address: "192.0.2.1" });
  assert.deepEqual(await useAt(noon - 1, "192.0.2.2"), { time: new Date(noon), address: "192.0.2.1" });
  assert.deepEqual(await useAt(noon - DAY, "192.0.2.3"), { time: new Date(noon), address: "192.0.2.1" });
  assert.deepEqual(await useAt(noon + 1, ""), { time: new Date(noon + 1), address: "" });
  assert.deepEqual(await useAt(noon + DAY, "::1"), { time: new Date(noon + DAY), address: "::1" });
});

test("last uses are told of the secrets asked for, and not of those that were never used", async () => {
  const [used, alsoUsed, unused] = [newSecret(), newSecret(), newSecret()];
  const { recorder } = startRecorder();
  recorder.count(used, allowed);
  recorder.count(alsoUsed, allowed);
  await recorder.close();
  const uses = await readLastUses(storage.fork(), [
    used.lookupId,
    unused.lookupId,
    "'; drop table key_usage",
  ]);
  assert.deepEqual([...uses.keys()], [used.lookupId]);
  assert.equal((await readLastUses(storage.fork(), [])).size, 0);
});

test("usage is told by day and by secret, the newest day first, for as many days as asked", async () => {
  const keyId = uuidv4();
  const [one, two] = [newSecret(keyId), newSecret(keyId)];
  const { recorder } = startRecorder();
  const midnight = await startOfDay();
  const days = [0, 1, 2, 29];
  for (const ago of days) {
    const { recorder: then } = startRecorder({ clock: () => midnight - ago * DAY });
    for (const [secret, use] of [
      [one, allowed],
      [one, allowed],
      [two, allowed],
      [two, refused],
    ] as const) {
      then.count(secret, use);
    }
    await then.close();
  }
  recorder.count(newSecret(), allowed);
  await recorder.close();

  const dates = async (asked: number) =>
    (await readDailyUsage(storage.fork(), keyId, asked)).map(({ date }) => date);
  const dateOf = (ago: number) => new Date(midnight - ago * DAY).toISOString().slice(0, 10);
  assert.deepEqual(await dates(1), [dateOf(0)]);
  assert.deepEqual(await dates(2), [dateOf(0), dateOf(1)]);
  assert.deepEqual(await dates(29), [dateOf(0), dateOf(1), dateOf(2)]);
  assert.deepEqual(await dates(30), days.map(dateOf));
  const [today] = await readDailyUsage(storage.fork(), keyId, 1);
  assert.deepEqual(today && { ...today, slots: new Set(today.slots) }, {
    date: dateOf(0),
    allowed: 3n,
    refused: 1n,
    slots: new Set([
      { displayPrefix: one.displayPrefix, allowed: 2n, refused: 0n },
      { displayPrefix: two.displayPrefix, allowed: 1n, refused: 1n },
    ]),
  });
  assert.deepEqual(await readDailyUsage(storage.fork(), uuidv4(), 30), []);
});

test("a use belongs to the day in UTC on which it was made, though it is written on the next", async () => {
  const secret = newSecret();
  let now = (await startOfDay()) - 1;
  const { recorder } = startRecorder({ clock: () => now });
  recorder.count(secret, allowed);
  now += 1;
  recorder.count(secret, refused);
  await recorder.close();
  const days = await readDailyUsage(storage.fork(), secret.keyId, 2);
  assert.deepEqual(
    days.map((day) => [day.allowed, day.refused]),
    [
      [0n, 1n],
      [1n, 0n],
    ],
  );
});

test("days that nobody can ask for are deleted, but when a secret was last used stays", async () => {
  const [used, unused] = [newSecret(), newSecret()];
  for (const [secret, ago] of [
    [used, 500],
    [used, 401],
    [used, 399],
    [unused, 500],
    [unused, 450],
  ] as const) {
    const now = Date.now() - ago * DAY;
    const { recorder } = startRecorder({ clock: () => now });
    recorder.count(secret, allowed);
    await recorder.close();
  }
  const left = async ({ lookupId }: HeldSecret) =>
    (
      await query<{ ago: number }>(
        connection,
        `select (now() at time zone 'utc')::date - date as ago from key_usage where lookup_id = $1 order by 1`,
        [lookupId],
      )
    ).map(({ ago }) => ago);
  const { recorder } = startRecorder();
  recorder.count(newSecret(), allowed);
  await recorder.flush();
  await until("the old ones are deleted", async () => (await left(used)).length === 1);
  assert.deepEqual(await left(used), [399]);
  assert.deepEqual(await left(unused), [450]);
});

async function startOfDay(): Promise<number> {
  const [row] = await query<{ millis: string }>(
    connection,
    "select extract(epoch from date_trunc('day', now() at time zone 'utc'))::bigint * 1000 as millis",
  );
  return Number(row?.millis);
}
