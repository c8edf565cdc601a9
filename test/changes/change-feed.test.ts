import assert from "node:assert/strict";
import { afterEach, before, beforeEach, test } from "node:test";
import { type Event, mutate, type Tag } from "../../src/changes/mutate.ts";
import { readRevision, writeRevision } from "../../src/changes/revision.ts";
import { AuthError, type Reason } from "../../src/errors.ts";
import { runCancellable } from "../../src/storage/cancellation.ts";
import { type DatabaseConnection, parseDatabaseUrl } from "../../src/storage/database-connection.ts";
import { startProxy } from "../cli/database-proxy.ts";
import { createDatabase, query } from "../support/cluster.ts";
import { until } from "../support/until.ts";
import { asked, change, openClient, startListening } from "./listening.ts";

let connection: DatabaseConnection;
let stack: AsyncDisposableStack;
before(async () => {
  connection = await createDatabase();
});
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

const KILL = `select pg_terminate_backend(pid) from pg_stat_activity
  where application_name = 'latchkey feed' and datname = current_database()`;

const isReason = (reason: Reason) => (error: unknown) =>
  error instanceof AuthError && error.reason === reason;

test("a transaction is heard of once it is committed, in whichever order, with its savepoints; one that is taken back never", async () => {
  const listening = await startListening(stack, connection);
  const clients = await Promise.all(Array.from({ length: 6 }, () => openClient(stack, connection)));
  for (const [at, client] of clients.entries()) {
    await client.query("begin");
    await client.query("insert into changes (tags) values ($1)", [[`key:${at}`]]);
    await client.query("savepoint one");
    await client.query("insert into changes (tags) values ($1)", [[`key:${at} kept`]]);
    await client.query("savepoint two");
    await client.query("insert into changes (tags) values ($1)", [[`key:${at} lost`]]);
    await client.query("rollback to savepoint two");
    await asked(listening, connection);
  }
  assert.deepEqual(listening.heard, []);
  // The first is the longest.
  for (const at of [3, 5, 1, 4, 2, 0]) {
    await clients[at]?.query(at % 2 === 0 ? "commit" : "rollback");
    await asked(listening, connection);
    const expected = at % 2 === 0 ? [`key:${at}`, `key:${at} kept`] : [];
    assert.deepEqual(listening.heard.splice(0).toSorted(), expected);
  }
});

test("whoever joins in the middle of a transaction hears of it too, and so does whoever was there", async () => {
  const first = await startListening(stack, connection);
  const client = await openClient(stack, connection);
  await client.query("begin");
  await client.query("insert into changes (tags) values ('{key:middle}')");
  const second = await startListening(stack, connection);
  await client.query("commit");
  await until("both have heard", () => [first, second].every(({ heard }) => heard.includes("key:middle")));
});

test("a change that nobody announces is heard of all the same", async () => {
  const { heard, feed } = await startListening(stack, connection);
  const { generation, revision } = feed;
  await change(connection, "key:quiet", "user:quiet");
  await until("it is heard of", () => heard.length > 0);
  assert.deepEqual(heard.toSorted(), ["key:quiet", "user:quiet"]);
  assert.equal(feed.generation, generation + 1);
  assert.notEqual(feed.revision, revision);
});

test("whoever changes rows by hand can make everybody forget everything", async () => {
  const listening = await startListening(stack, connection);
  await change(connection, "everything");
  await asked(listening, connection);
  assert.deepEqual(listening.heard, ["everything"]);
});

test("listeners hear before anybody can read the revision that tells of it", async () => {
  const listening = await startListening(stack, connection);
  const { feed } = listening;
  const before = feed.revision;
  const seen: string[] = [];
  feed.onHeard(() => seen.push(feed.revision));
  await change(connection, "key:order");
  await asked(listening, connection);
  assert.deepEqual(seen, [before]);
  assert.notEqual(feed.revision, before);
});

test("where its connection is killed everything counts as changed, once, and it hears on", async () => {
  const listening = await startListening(stack, connection);
  await query(connection, KILL);
  await until("it is back", () => listening.heard.length > 0);
  assert.deepEqual(listening.heard, ["everything"]);
  await change(connection, "key:after");
  await asked(listening, connection);
  assert.deepEqual(listening.heard, ["everything", "key:after"]);
  const lines = listening.logged.map((line) => String(JSON.parse(line).msg));
  assert.equal(lines.filter((line) => line.startsWith("changes are not heard of")).length, 1);
  assert.equal(lines.filter((line) => line === "changes are heard of again").length, 1);
  // The server is the same one: nobody else's connections are suspected.
  assert.equal(listening.renewed(), 0);
});

for (const trouble of ["that says nothing any more", "that is gone"]) {
  test(`a server ${trouble} proves nothing, and everything counts as changed once it is back`, async () => {
    const proxy = await startProxy(stack, connection);
    const listening = await startListening(stack, {
      ...parseDatabaseUrl(proxy.url),
      password: proxy.password,
    });
    const { feed, heard, logged } = listening;
    const isFrozen = trouble.startsWith("that says");
    await (isFrozen ? proxy.freeze() : proxy.cut());
    await until("it is given up", () => logged.some((line) => line.includes("changes are not heard of")));
    const proven = feed.provenAt;
    await change(connection, "key:meanwhile");
    assert.equal(feed.provenAt, proven);
    assert.ok(performance.now() - proven < 5_000);
    await (isFrozen ? proxy.thaw() : proxy.restore());
    await until("it is back", () => feed.provenAt > proven);
    assert.equal(heard[0], "everything");
    await change(connection, "key:after");
    await until("it hears on", () => heard.includes("key:after"));
    assert.equal(logged.filter((line) => line.includes("changes are not heard of")).length, 1);
  });
}

const OTHERS = {
  "another server": { system: "1" },
  "another timeline": { timeline: "000000FF" },
  "another database": { database: "1" },
} as const;
for (const [what, other] of Object.entries(OTHERS)) {
  test(`where ${what} is behind, everything counts as changed, and no revision of before is known`, async () => {
    const listening = await startListening(stack, connection);
    const { feed } = listening;
    const { revision } = feed;
    listening.doctor = (row) => ({ ...row, ...other });
    await until("it is noticed", () => feed.revision !== revision);
    assert.deepEqual(listening.heard, ["everything"]);
    assert.equal(listening.renewed(), 1);
    await assert.rejects(feed.reach(revision), isReason("REVISION_UNKNOWN"));
    await feed.reach(feed.revision);
    assert.deepEqual(listening.heard, ["everything"]);
  });
}

test("a database that was set back is another history", async () => {
  const listening = await startListening(stack, connection);
  listening.doctor = (row) => ({ ...row, snapshot: "700:700:" });
  await until("it is noticed", () => listening.heard.length > 0);
  assert.deepEqual(listening.heard, ["everything"]);
  assert.equal(listening.renewed(), 1);
});

test("a standby proves nothing, whatever it tells", async () => {
  const listening = await startListening(stack, connection);
  const { feed, heard } = listening;
  const { revision } = feed;
  listening.doctor = (row) => ({ ...row, is_standby: true });
  await until("it is noticed", () => feed.provenAt === Number.NEGATIVE_INFINITY);
  assert.equal(feed.revision, revision);
  assert.deepEqual(heard, []);
  listening.doctor = (row) => row;
  await until("it is the primary", () => feed.provenAt > 0);
  assert.deepEqual(heard, ["everything"]);
});

test("where changes were pruned that it had not heard of, everything counts as changed", async () => {
  const listening = await startListening(stack, connection);
  const [horizon] = await query<{ xid: string }>(
    connection,
    "select pruned_xid::text as xid from change_horizon",
  );
  await query(connection, "update change_horizon set pruned_xid = pg_current_xact_id()");
  await asked(listening, connection);
  assert.deepEqual(listening.heard, ["everything"]);
  await asked(listening, connection);
  await change(connection, "key:after");
  await asked(listening, connection);
  assert.deepEqual(listening.heard, ["everything", "key:after"]);
  await query(connection, "update change_horizon set pruned_xid = $1::text::xid8", [horizon?.xid]);
});

test("it knows the database's time, early by no more than a poll takes", async () => {
  const { feed } = await startListening(stack, connection);
  const offset = 3_600_000;
  const listening = await startListening(stack, connection);
  listening.doctor = (row) => ({ ...row, millis: row.millis + offset });
  await asked(listening, connection);
  const tell = async () => {
    const early = feed.now() ?? 0;
    const [row] = await query<{ millis: number }>(
      connection,
      "select (extract(epoch from clock_timestamp()) * 1000)::float8 as millis",
    );
    return { early, millis: row?.millis ?? 0, late: feed.now() ?? 0 };
  };
  const { early, millis, late } = await tell();
  // Both clocks are this machine's; a poll was given up after 2 seconds.
  assert.ok(early - 2_000 <= millis && millis <= late + 1, `${early} ${millis} ${late}`);
  assert.ok(Math.abs((listening.feed.now() ?? 0) - (feed.now() ?? 0) - offset) < 2_000);
});

const EVENT: Event = { action: "test.change", targetId: "test", detail: {} };
const AUTHOR = { type: "operator", id: "test" } as const;

test("a revision of one replica is reached on another", async () => {
  const { feed, heard } = await startListening(stack, connection);
  const { storage } = await startListening(stack, connection);
  const xid = await mutate<string>(storage, AUTHOR, async (em) => {
    const [row] = await em.execute<[{ xid: string }]>("select pg_current_xact_id()::text as xid");
    return { result: row.xid, event: EVENT, tags: ["key:reached"] satisfies Tag[] };
  });
  await feed.reach(writeRevision({ epoch: feed.epoch ?? "", xids: [BigInt(xid)] }));
  assert.deepEqual(heard, ["key:reached"]);
  // And what it answers itself, on the first.
  await feed.reach(feed.revision);
});

test("what is not reached in time is UNAVAILABLE, what nobody has written is refused, and a call that ends waits no longer", async () => {
  const listening = await startListening(stack, connection);
  const { feed } = listening;
  const client = await openClient(stack, connection);
  await client.query("begin");
  const [open] = (await client.query<{ xid: string }>("select pg_current_xact_id()::text as xid")).rows;
  const revision = writeRevision({ epoch: feed.epoch ?? "", xids: [BigInt(open?.xid ?? 0)] });
  const begun = performance.now();
  await assert.rejects(feed.reach(revision), isReason("UNAVAILABLE"));
  assert.ok(performance.now() - begun >= 1_900);
  await assert.rejects(feed.reach("nonsense"), isReason("REVISION_INVALID"));
  const foreign = writeRevision({ ...readRevision(feed.revision), epoch: "00".repeat(8) });
  await assert.rejects(feed.reach(foreign), isReason("REVISION_UNKNOWN"));
  const reason = new Error("hung up");
  await assert.rejects(
    runCancellable(AbortSignal.abort(reason), () => feed.reach(revision)),
    reason,
  );
  const waiting = feed.reach(revision);
  await client.query("commit");
  await waiting;
});

test("while the database is away a revision is UNAVAILABLE, not unknown", async () => {
  const proxy = await startProxy(stack, connection);
  const { feed } = await startListening(stack, { ...parseDatabaseUrl(proxy.url), password: proxy.password });
  const foreign = writeRevision({ ...readRevision(feed.revision), epoch: "00".repeat(8) });
  await proxy.cut();
  await assert.rejects(feed.reach(foreign), isReason("UNAVAILABLE"));
  // What it has heard of already it has.
  await feed.reach(feed.revision);
});

test("renewed connections of the verify path lead to whoever is there now", async () => {
  const { storage } = await startListening(stack, connection);
  const pid = async () =>
    (await storage.verify<{ pid: number }>("pid", "select pg_backend_pid() as pid", []))?.pid;
  const first = await pid();
  assert.equal(await pid(), first);
  storage.renew();
  const second = await pid();
  assert.notEqual(second, first);
  assert.equal(await pid(), second);
});
