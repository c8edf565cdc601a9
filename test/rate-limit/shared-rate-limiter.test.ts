import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { v4 as uuidv4 } from "uuid";
import type { RateLimit } from "../../src/credentials/rate-limit.ts";
import { AuthError } from "../../src/errors.ts";
import { forgetPastWindows } from "../../src/rate-limit/report-uses.ts";
import { creditOf, type SharedRateLimiter } from "../../src/rate-limit/shared-rate-limiter.ts";
import type { Storage } from "../../src/storage/open-storage.ts";
import { lockTable } from "../cli/lock-table.ts";
import { statementsOf } from "../storage/statements.ts";
import { query } from "../support/cluster.ts";
import { cleanup } from "../support/process.ts";
import { until } from "../support/until.ts";
import { burst, Deployment, isAlone, stands, TOMORROW, take } from "./replicas.ts";

const DAY = 86_400;

const aDay = (requests: number): RateLimit => ({ requests, windowSeconds: DAY });

async function recordedUses({ connection }: Deployment, keyId: string): Promise<number> {
  const rows = await query<{ used: string }>(
    connection,
    "select coalesce(sum(used), 0) as used from key_rate_windows where key_id = $1",
    [keyId],
  );
  return Number(rows[0]?.used);
}

/** A storage whose background statements can be made to fail, before they are carried out or after it. */
function flaky(storage: Storage): Storage & { fails: "never" | "before" | "after" } {
  const wrapped = {
    ...storage,
    fails: "never" as "never" | "before" | "after",
    async inBackground(name: string, sql: string, values: readonly unknown[]) {
      if (wrapped.fails === "before") {
        throw new Error("connect ECONNREFUSED");
      }
      const row = await storage.inBackground<never>(name, sql, values);
      if (wrapped.fails === "after") {
        throw new Error("Connection terminated unexpectedly");
      }
      return row;
    },
  };
  return wrapped;
}

test("a lone replica allows exactly as many uses as the limit says, in one burst", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const limiter = await deployment.start();
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3_000 }),
      fc.integer({ min: 1, max: 86_400 }),
      fc.integer({ min: 0, max: 300 }),
      async (requests, windowSeconds, more) => {
        const keyId = uuidv4();
        const counts = burst(limiter, keyId, { requests, windowSeconds }, requests + more);
        assert.equal(counts.allowed, requests);
        assert.equal(counts.UNAVAILABLE, undefined);
      },
    ),
    { numRuns: 50 },
  );
});

test("a lone replica allows exactly as many in a window that goes on for a while", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const limiter = await deployment.start();
  const keyId = uuidv4();
  let allowed = 0;
  for (let at = 0; at < 500; at++) {
    allowed += burst(limiter, keyId, aDay(1_000), 3).allowed ?? 0;
    await turn();
  }
  assert.equal(allowed, 1_000);
  await limiter.close();
  assert.equal(await recordedUses(deployment, keyId), 1_000);
});

test("whoever has used up the limit is told when the window ends, and is let in again then", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  let now = TOMORROW - (TOMORROW % 60_000);
  const limiter = await deployment.start({ clock: () => now });
  const keyId = uuidv4();
  const limit = { requests: 3, windowSeconds: 60 };
  const retryAfter = () => {
    try {
      limiter.take(keyId, limit);
    } catch (error) {
      return error instanceof AuthError ? error.retryAfterMillis : error;
    }
    return undefined;
  };
  for (let window = 0; window < 5; window++) {
    assert.deepEqual([retryAfter(), retryAfter(), retryAfter()], [undefined, undefined, undefined]);
    assert.equal(retryAfter(), 60_000);
    now += 1;
    assert.equal(retryAfter(), 59_999);
    now += 59_998;
    assert.equal(retryAfter(), 1);
    now += 1;
    await turn();
  }
});

test("windows begin at multiples of their length, in UTC", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const limiter = await deployment.start();
  const keyId = uuidv4();
  for (const windowSeconds of [7, 60, 3_600, DAY]) {
    take(limiter, keyId, { requests: 1, windowSeconds });
  }
  await limiter.close();
  const rows = await query<{ start: string; seconds: string }>(
    deployment.connection,
    `select extract(epoch from window_start)::bigint as start,
       extract(epoch from window_end - window_start)::bigint as seconds
     from key_rate_windows where key_id = $1 order by 2`,
    [keyId],
  );
  assert.deepEqual(
    rows.map(({ start, seconds }) => [Number(start), Number(seconds)]),
    [7, 60, 3_600, DAY].map((seconds) => [Math.floor(TOMORROW / 1000 / seconds) * seconds, seconds]),
  );
});

test("a restart within the window changes nothing: together there are as many uses as the limit says", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const keyId = uuidv4();
  let allowed = 0;
  for (const count of [30, 50, 100]) {
    const limiter = await deployment.start();
    allowed += burst(limiter, keyId, aDay(100), count).allowed ?? 0;
    await limiter.close();
  }
  assert.equal(allowed, 100);
});

test("a replica that was killed takes nothing along that it had reported", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const killed = await deployment.start();
  const keyId = uuidv4();
  assert.equal(burst(killed, keyId, aDay(100), 90).allowed, 90);
  await until("it is reported", async () => (await recordedUses(deployment, keyId)) === 90);
  const next = await deployment.start({ at: 1 });
  let allowed = 0;
  await until("the limit is used up", () => {
    const outcome = take(next, keyId, aDay(100));
    allowed += Number(outcome === "allowed");
    return outcome === "limited";
  });
  assert.equal(allowed, 10);
});

for (const replicas of [2, 3]) {
  test(`${replicas} replicas allow together what the limit says, and so much more as they state`, async (t) => {
    const deployment = await Deployment.create(cleanup(t));
    const limiters = await deployment.startMany(replicas);
    for (const requests of [1, 2, 5, 10, 100, 1_000, 5_000]) {
      const limit = aDay(requests);
      const keyId = uuidv4();
      let allowed = 0;
      const use = async (limiter: SharedRateLimiter, size: number) => {
        for (;;) {
          for (let at = 0; at < size; at++) {
            const outcome = take(limiter, keyId, limit);
            assert.notEqual(outcome, "UNAVAILABLE");
            if (outcome === "limited") {
              assert.ok(allowed >= requests, `turned away until the end after ${allowed} of ${requests}`);
              return;
            }
            allowed += Number(outcome === "allowed");
          }
          await turn();
        }
      };
      // In bursts at once, one by one, and unevenly.
      await Promise.all(limiters.map((limiter, at) => use(limiter, [requests * 2, 1, 7][at] ?? 1)));
      const most = requests + (replicas - 1) * creditOf(limit);
      assert.ok(allowed >= requests && allowed <= most, `${allowed} of ${requests}`);
      await until("all is reported", async () => (await recordedUses(deployment, keyId)) === allowed);
    }
  });
}

test("a burst at all replicas at once goes beyond the limit by no more than they state", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const limiters = await deployment.startMany(3);
  for (const requests of [1, 4, 10, 40, 200]) {
    const limit = aDay(requests);
    const keyId = uuidv4();
    // Nearly used up, and each replica knows.
    let allowed = 0;
    const useAll = (count: number) => {
      for (const limiter of limiters) {
        allowed += burst(limiter, keyId, limit, count).allowed ?? 0;
      }
    };
    while (allowed < requests) {
      useAll(allowed === 0 ? requests * 2 : 1);
      await turn();
    }
    useAll(requests * 2);
    assert.ok(allowed <= requests + 2 * creditOf(limit), `${allowed} of ${requests}`);
  }
});

test("what is stated: a twentieth or 5, and at most half", () => {
  const credits = [1, 2, 3, 9, 10, 11, 100, 101, 1_000, 1_000_000_000].map((requests) =>
    creditOf(aDay(requests)),
  );
  assert.deepEqual(credits, [1, 1, 2, 5, 5, 5, 5, 6, 50, 50_000_000]);
});

test("where there are others, a burst beyond what may go unreported has to come again in a moment", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const [limiter] = await deployment.startMany(2);
  assert.ok(limiter);
  const keyId = uuidv4();
  assert.deepEqual(burst(limiter, keyId, aDay(100), 20), { allowed: 5, again: 15 });
  await until("it is let in again", () => take(limiter, keyId, aDay(100)) === "allowed", { within: 2_000 });
});

test("a replica notices within seconds that another has started, and that it has ended", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const first = await deployment.start();
  assert.ok(isAlone(first));
  const second = await deployment.start({ at: 1 });
  assert.ok(!isAlone(second), "whoever comes second knows at once");
  await until("the first knows", () => !isAlone(first), { within: 3_000 });
  await second.close();
  await until("the first knows", () => isAlone(first), { within: 3_000 });
});

test("replicas that start at once come to know of each other", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const limiters = await Promise.all([0, 1, 2].map((at) => deployment.start({ at })));
  await until("all know", () => limiters.every((limiter) => !isAlone(limiter)), { within: 3_000 });
});

test("a replica that was killed does not count for long", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  await query(deployment.connection, "insert into rate_limit_replicas (id) values ($1)", [uuidv4()]);
  const limiter = await deployment.start();
  assert.ok(!isAlone(limiter));
  await query(
    deployment.connection,
    "update rate_limit_replicas set seen_time = seen_time - interval '10 s' where true",
  );
  await until("it is alone", () => isAlone(limiter), { within: 5_000 });
});

test("whoever becomes the only replica knows what the others have used", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const [first, second] = await deployment.startMany(2);
  assert.ok(first && second);
  const keyId = uuidv4();
  let allowed = 0;
  while (allowed < 70) {
    allowed += Number(take(second, keyId, aDay(100)) === "allowed");
    await turn();
  }
  await second.close();
  await until("the first is alone", () => isAlone(first));
  allowed += burst(first, keyId, aDay(100), 100).allowed ?? 0;
  assert.equal(allowed, 100);
});

test("clocks that differ a little share their windows", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const [first] = await deployment.startMany(2);
  const ahead = await deployment.start({ at: 2, clock: () => TOMORROW + 300 });
  assert.ok(first);
  const keyId = uuidv4();
  const limit = { requests: 50, windowSeconds: 100 };
  let allowed = 0;
  const done = new Set<SharedRateLimiter>();
  while (done.size < 2) {
    for (const limiter of [first, ahead]) {
      const outcome = take(limiter, keyId, limit);
      allowed += Number(outcome === "allowed");
      if (outcome === "limited") done.add(limiter);
    }
    await turn();
  }
  assert.ok(allowed >= 50 && allowed <= 50 + creditOf(limit), `${allowed}`);
});

test("a limit that changes holds from the next use on", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const limiter = await deployment.start();
  const keyId = uuidv4();
  assert.deepEqual(burst(limiter, keyId, aDay(100), 60), { allowed: 60 });
  assert.equal(take(limiter, keyId, aDay(50)), "limited");
  assert.deepEqual(burst(limiter, keyId, aDay(80), 30), { allowed: 20, limited: 10 });
  assert.deepEqual(burst(limiter, keyId, aDay(100), 30), { allowed: 20, limited: 10 });
  // Another length is another window.
  assert.deepEqual(burst(limiter, keyId, { requests: 5, windowSeconds: 3_600 }, 10), {
    allowed: 5,
    limited: 5,
  });
});

test("keys do not use up each other's limit", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const limiter = await deployment.start();
  const keys = Array.from({ length: 20 }, () => uuidv4());
  for (let round = 0; round < 10; round++) {
    for (const keyId of keys) {
      assert.equal(take(limiter, keyId, aDay(10)), "allowed");
    }
  }
  for (const keyId of keys) {
    assert.equal(take(limiter, keyId, aDay(10)), "limited");
  }
});

test("a report is one statement, however many keys were used", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const limiter = await deployment.start();
  const keys = Array.from({ length: 1_000 }, () => uuidv4());
  take(limiter, uuidv4(), aDay(10));
  const reports = (
    await statementsOf(async () => {
      for (const keyId of keys) {
        burst(limiter, keyId, aDay(10), 3);
      }
      await limiter.close();
    }, "background")
  ).filter((text) => text.includes("key_rate_windows"));
  assert.ok(reports.length <= 2, `${reports.length}`);
  const [row] = await query<{ used: string }>(
    deployment.connection,
    "select sum(used) as used from key_rate_windows",
  );
  assert.equal(Number(row?.used), 3_001);
});

for (const fails of ["before", "after"] as const) {
  test(`where reports fail ${fails} they are carried out, no more is allowed than goes unreported`, async (t) => {
    const deployment = await Deployment.create(cleanup(t));
    const [other] = await deployment.startMany(2);
    const storage = flaky(await deployment.storage(2));
    const limiter = await deployment.start({ at: 2, storage });
    const keyId = uuidv4();
    const limit = aDay(100);
    assert.ok(other && !isAlone(limiter));
    storage.fails = fails;
    let allowed = 0;
    await until("it is unavailable", () => {
      const outcome = take(limiter, keyId, limit);
      assert.notEqual(outcome, "limited");
      allowed += Number(outcome === "allowed");
      return outcome === "UNAVAILABLE";
    });
    // A report that was under way may still have worked.
    assert.ok(allowed <= 2 * creditOf(limit), `${allowed}`);
    for (let at = 0; at < 50; at++) {
      assert.equal(take(limiter, keyId, limit), "UNAVAILABLE");
      await turn();
    }
    storage.fails = "never";
    await until("it recovers", () => {
      const outcome = take(limiter, keyId, limit);
      allowed += Number(outcome === "allowed");
      return outcome === "allowed" || outcome === "limited";
    });
    await limiter.close();
    const recorded = await recordedUses(deployment, keyId);
    if (fails === "before") {
      assert.equal(recorded, allowed, "nothing is lost, nothing counts twice");
    } else {
      assert.ok(recorded >= allowed, "nothing is lost");
    }
  });
}

test("uses whose report has failed are reported again by themselves", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  await deployment.startMany(2);
  const storage = flaky(await deployment.storage(2));
  const limiter = await deployment.start({ at: 2, storage });
  storage.fails = "before";
  const keyId = uuidv4();
  assert.equal(take(limiter, keyId, aDay(1)), "allowed");
  await turn();
  storage.fails = "never";
  await until("it is reported", async () => (await recordedUses(deployment, keyId)) === 1, { within: 5_000 });
});

test("a lone replica without its database is sure of being alone for a few seconds only", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const storage = flaky(await deployment.storage());
  const limiter = await deployment.start({ storage });
  storage.fails = "before";
  await until("it allows no more than may go unreported", () => !isAlone(limiter), { within: 5_000 });
  assert.deepEqual(burst(limiter, uuidv4(), aDay(100), 8), { allowed: 5, UNAVAILABLE: 3 });
});

test("a database that says nothing makes it unavailable, and not wait", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const [limiter] = await deployment.startMany(2);
  assert.ok(limiter);
  const lock = await lockTable(t, deployment.connection, "key_rate_windows");
  const keyId = uuidv4();
  assert.equal(burst(limiter, keyId, aDay(100), 6).allowed, 5);
  await lock.blocks();
  await until("it is unavailable", () => take(limiter, keyId, aDay(100)) === "UNAVAILABLE", {
    within: 3_000,
  });
  await lock.release();
  await until("it recovers", () => take(limiter, keyId, aDay(100)) === "allowed", { within: 8_000 });
});

test("a service starts without a database that can be written to, and recovers", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  const storage = flaky(await deployment.storage());
  storage.fails = "before";
  const limiter = await deployment.start({ storage });
  assert.deepEqual(burst(limiter, uuidv4(), aDay(100), 8), { allowed: 5, UNAVAILABLE: 3 });
  storage.fails = "never";
  await until("it is alone", () => isAlone(limiter), { within: 5_000 });
});

test("past windows are forgotten, here and in the database", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  let now = TOMORROW;
  const limiter = await deployment.start({ clock: () => now });
  for (let at = 0; at < 200; at++) {
    take(limiter, uuidv4(), { requests: 5, windowSeconds: 1 });
    now += 1_000;
  }
  assert.ok(limiter.size >= 200);
  await until("they are forgotten", () => limiter.size <= 3, { within: 4_000 });

  await limiter.close();
  const { connection } = deployment;
  await query(connection, "delete from key_rate_windows; delete from rate_limit_replicas");
  await query(
    connection,
    `insert into key_rate_windows
     select gen_random_uuid(), now() - ago - interval '1 s', now() - ago, 1
     from (values (interval '-1 minute'), ('30 seconds'), ('61 seconds'), ('1 day')) as t (ago)`,
  );
  await query(
    connection,
    `insert into rate_limit_replicas select gen_random_uuid(), now() - ago
     from (values (interval '0'), ('59 minutes'), ('61 minutes')) as t (ago)`,
  );
  await forgetPastWindows(await deployment.storage());
  const [left] = await query(
    connection,
    `select (select count(*)::int from key_rate_windows) as windows,
       (select count(*)::int from rate_limit_replicas) as replicas`,
  );
  assert.deepEqual(left, { windows: 2, replicas: 2 });
});

test("a clock that is set back does not open a window anew", async (t) => {
  const deployment = await Deployment.create(cleanup(t));
  let now = stands();
  const limiter = await deployment.start({ clock: () => now });
  const keyId = uuidv4();
  const limit = { requests: 5, windowSeconds: 10 };
  burst(limiter, keyId, limit, 5);
  now += 10_500;
  assert.equal(take(limiter, keyId, limit), "allowed");
  now -= 1_500;
  await turn();
  assert.equal(take(limiter, keyId, limit), "limited");
});
