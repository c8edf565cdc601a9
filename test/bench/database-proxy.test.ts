import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Client } from "pg";
import { startDatabaseProxy } from "../../bench/fixture/database-proxy.ts";
import { createDatabase } from "../support/cluster.ts";
import { until } from "../support/until.ts";

test("the proxy counts what is executed, and keeps back notifications and nothing else", async (t) => {
  const database = await createDatabase("empty");
  const folder = await mkdtemp(join(tmpdir(), "latchkey-proxy-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const proxy = await startDatabaseProxy(folder, database.host ?? "");
  t.after(() => proxy.stop());
  const through = new Client({ ...database, host: proxy.host });
  const direct = new Client(database);
  await through.connect();
  await direct.connect();
  t.after(() => Promise.all([through.end(), direct.end()]));
  const heard: string[] = [];
  through.on("notification", ({ payload }) => heard.push(payload ?? ""));
  await through.query("listen news");

  await direct.query("notify news, 'passes'");
  await until("a notification has passed", () => heard.length > 0);
  proxy.dropNotifications();
  await direct.query("notify news, 'is kept back'");
  await until("a notification was kept back", () => proxy.dropped === 1);
  for (const value of [1, 2]) {
    const text = "select $1::int as value, repeat('x', 100000) as long";
    const { rows } = await through.query({ name: "prepared", text, values: [value] });
    assert.deepEqual(rows, [{ value, long: "x".repeat(100_000) }]);
  }
  assert.deepEqual(heard, ["passes"]);
  assert.deepEqual(
    [...proxy.statements],
    [
      ["listen news", 1],
      ["select $1::int as value, repeat('x', 100000) as long", 2],
    ],
  );
});
