import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createDatabase, urlOf } from "../support/cluster.ts";
import { cleanup, freePort, latchkey, temporaryFolder } from "../support/process.ts";
import { until } from "../support/until.ts";
import { field, linesOf, operatorWith } from "./operator.ts";

/** The lines of docs/walkthrough.md, as somebody new to it would type them, against `npm start` in its own process. */
test("an operator leads a key from its creation to its end, with nothing but the commands", async (t) => {
  const stack = cleanup(t);
  const folder = temporaryFolder(stack);
  const dev = { LATCHKEY_DATA_DIR: folder, LATCHKEY_PORT: String(await freePort()) };
  const service = latchkey(stack, ["dev"], {
    env: { ...dev, DATABASE_URL: urlOf(await createDatabase("empty")) },
  });
  await service.said(/Latchkey is at/);
  const { does, start } = operatorWith(t, { LATCHKEY_DATA_DIR: folder });

  /** What a service that was sent the secret would ask. */
  const use = async (secret: string, code: number): Promise<string> => {
    const command = start(["authenticate", "-H", "@-", "--client-address", "203.0.113.7"], {
      input: `X-API-Key: ${secret}\n`,
    });
    assert.deepEqual(await command.ended(), { code, signal: null }, command.stderr);
    return command.stdout;
  };
  const slotsOf = (shown: string) => {
    const lines = linesOf(shown);
    const head = lines.findIndex((line) => line.startsWith("SLOT "));
    return lines.slice(head + 1).filter((line) => /^[12] /.test(line));
  };

  const created = await does([
    ...["key", "create", "billing", "--permission", "calls.*", "--expires", "90d"],
    ...["--metadata", "team=payments"],
  ]);
  const id = field(created, "id") ?? assert.fail(created);
  const old = field(created, "secret") ?? assert.fail(created);
  assert.equal(field(created, "metadata team"), "payments");
  assert.match(await use(old, 0), new RegExp(`^principal +api_key ${id} billing\n`));

  const rotated = await does(["key", "rotate", id, "--overlap", "24h"]);
  const secret = field(rotated, "secret") ?? assert.fail(rotated);
  await use(old, 0);
  await use(secret, 0);
  await until("both uses are known", async () => {
    const slots = slotsOf(await does(["key", "get", id]));
    assert.equal(slots.length, 2);
    return slots.every((slot) => slot.endsWith(" from 203.0.113.7"));
  });

  const early = start(["key", "finish-rotation", id]);
  assert.deepEqual(await early.ended(), { code: 1, signal: null });
  assert.match(early.stderr, /was last used: 20.* from 203\.0\.113\.7\n.*--yes ends it all the same\n$/);
  assert.equal(slotsOf(await does(["key", "finish-rotation", id, "--yes"])).length, 1);
  assert.match(await use(old, 2), /^refused +API_KEY_ROTATED: /);
  const headers = join(folder, "headers.txt");
  writeFileSync(headers, `X-API-Key: ${old}\n`);
  const explained = start(["explain", "-H", `@${headers}`]);
  assert.deepEqual(await explained.ended(), { code: 2, signal: null }, explained.stderr);
  assert.match(explained.stdout, /^failed +rotation +/m);

  await until("the uses are counted", async () =>
    /^20\S+ +[3-9] /m.test(await does(["key", "usage", id, "--days", "7"])),
  );

  const revoked = await does(["key", "revoke", id, "--reason", "billing is no more"]);
  assert.equal(field(revoked, "state"), "revoked");
  assert.match(await use(secret, 2), /^refused +API_KEY_REVOKED: /);

  const other = field(await does(["key", "create", "other", "--permission", "calls.read"]), "secret") ?? "";
  assert.equal(
    await does(["key", "revoke-own", "--reason", "found in a log"], { input: other }),
    "revoked\n",
  );
  assert.match(await use(other, 2), /^refused +API_KEY_REVOKED: /);
  assert.match(await does(["key", "list"]), /^\S+ +billing +revoked .*\n\S+ +other +revoked /m);
});
