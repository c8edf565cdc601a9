import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { insertApiKey } from "../../src/credentials/api-key/create-api-key.ts";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { cleanup } from "../support/process.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";
import { PATIENCE, until } from "../support/until.ts";
import { field, linesOf, type Operator, operatorOf } from "./operator.ts";

describe("latchkey key", { concurrency: 3 }, () => {
  let service: TestService;
  before(async () => {
    service = await startService();
  });
  after(() => service.stop());

  const use = (apiKey: string) =>
    reasonOf(
      service
        .client(AuthenticationService)
        .authenticate({ headers: [{ name: "X-API-Key", value: apiKey }], clientAddress: "203.0.113.7" }),
    );

  async function create(operator: Operator, name: string, ...options: string[]) {
    const { apiKey, secret } = await operator.asks([
      "key",
      "create",
      name,
      "--permission",
      "calls.*",
      ...options,
    ]);
    return { id: apiKey.id as string, secret: secret as string, apiKey };
  }

  it("creates a key with all that was asked for, and tells its secret once", async (t) => {
    const operator = operatorOf(t, service);
    const { apiKey, secret } = await create(
      operator,
      "billing",
      ...["--permission", "auth.users.read,auth.roles.read", "--expires", "2099-01-31T10:00:00+02:00"],
      ...["--cidr", "203.0.113.0/24", "--cidr", "2001:db8::/32", "--rate-limit", "100/5m"],
      ...["--metadata", "team=payments", "--metadata", "note=a=b", "--environment", "test"],
    );
    const { id, createTime, slots, creatorId, ...rest } = apiKey;
    assert.deepEqual(rest, {
      organizationId: service.organizationId,
      name: "billing",
      permissions: ["auth.roles.read", "auth.users.read", "calls.*"],
      environment: "test",
      allowedCidrs: ["203.0.113.0/24", "2001:db8::/32"],
      expireTime: "2099-01-31T08:00:00Z",
      revokeReason: "",
      displayPrefix: secret.slice(0, secret.lastIndexOf("_")),
      ownerId: creatorId,
      metadata: { team: "payments", note: "a=b" },
      rateLimit: { requests: 100, windowSeconds: 300 },
      imported: false,
    });
    assert.equal(slots.length, 1);

    const told = await operator.asks(["key", "get", id]);
    assert.deepEqual(told, { apiKey });
    assert.ok(!JSON.stringify(told).includes(secret));
    assert.ok(!(await operator.does(["key", "get", id])).includes(secret));
    assert.equal(await use(secret), undefined);
  });

  it("shows a person the key, the secret on its own line, and on standard error that it is the only time", async (t) => {
    const command = operatorOf(t, service).start(["key", "create", "shown", "--permission", "calls.read"]);
    assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.stderr);
    const secret = field(command.stdout, "secret") ?? "";
    assert.equal(await use(secret), undefined);
    assert.equal(command.stdout.split(secret).length, 2);
    assert.match(command.stderr, /^latchkey: the secret is told this once and .* X-API-Key\n$/);
    assert.deepEqual(
      ["name", "state", "organization", "permissions", "addresses", "rate limit", "expires"].map((name) =>
        field(command.stdout, name),
      ),
      ["shown", "active", service.organizationId, "calls.read", "any", "none", "never"],
    );
  });

  it("says so where nobody has read a secret, since it is lost", async (t) => {
    const command = operatorOf(t, service).start(["key", "create", "unread", "--permission", "calls.read"], {
      readsLines: 0,
    });
    await command.ended();
    assert.match(
      command.stderr,
      /^latchkey: nobody has read the secret: revoke it with `latchkey key revoke [0-9a-f-]{36}`/,
    );
    assert.match(command.stdout, /^code 1$/m);
  });

  it("counts a while from now", async (t) => {
    const before = Date.now();
    const { apiKey } = await create(operatorOf(t, service), "soon", "--expires", "90d");
    const days = (Date.parse(apiKey.expireTime) - before) / 86_400_000;
    assert.ok(days >= 90 && days < 90.01, String(days));
  });

  it("changes what is given and nothing else, and a word takes each away again", async (t) => {
    const operator = operatorOf(t, service);
    const { id, apiKey } = await create(operator, "before");
    const change = async (...options: string[]) =>
      (await operator.asks(["key", "update", id, ...options])).apiKey;

    assert.deepEqual(await change("--name", "after"), { ...apiKey, name: "after" });
    const bound = await change(
      ...["--permission", "calls.read", "--cidr", "10.0.0.0/8", "--rate-limit", "5/1s"],
      ...["--metadata", "team=payments", "--expires", "2099-01-31"],
    );
    assert.deepEqual(bound, {
      ...apiKey,
      name: "after",
      permissions: ["calls.read"],
      allowedCidrs: ["10.0.0.0/8"],
      rateLimit: { requests: 5, windowSeconds: 1 },
      metadata: { team: "payments" },
      expireTime: "2099-01-31T00:00:00Z",
    });
    const free = await change(
      "--cidr",
      "any",
      "--rate-limit",
      "none",
      "--metadata",
      "none",
      "--expires",
      "never",
    );
    assert.deepEqual(free, { ...apiKey, name: "after", permissions: ["calls.read"] });
    assert.deepEqual((await operator.asks(["key", "get", id])).apiKey, free);
  });

  it("lists by state, owner, name and environment", async (t) => {
    const operator = operatorOf(t, service);
    const one = await create(operator, "listed one", "--environment", "lst");
    const two = await create(operator, "listed two");
    const gone = await create(operator, "listed gone");
    await operator.does(["key", "revoke", gone.id]);
    const ids = async (...options: string[]) =>
      (await operator.lists(["key", "list", ...options])).map(({ id }) => id);

    assert.deepEqual(await ids("--name", "LISTED"), [one.id, two.id, gone.id]);
    assert.deepEqual(await ids("--name", "listed", "--state", "active"), [one.id, two.id]);
    assert.deepEqual(await ids("--name", "listed", "--state", "revoked"), [gone.id]);
    assert.deepEqual(await ids("--name", "listed", "--state", "expired"), []);
    assert.deepEqual(await ids("--environment", "lst"), [one.id]);
    assert.deepEqual(await ids("--name", "listed", "--owner", service.admin.id), []);
    assert.deepEqual(await ids("--name", "listed", "--limit", "2"), [one.id, two.id]);
    assert.deepEqual(await ids("--owner", one.apiKey.ownerId, "--environment", "lst"), [one.id]);

    const shown = linesOf(await operator.does(["key", "list", "--name", "listed"]));
    assert.equal(shown.length, 4);
    assert.match(shown[0] ?? "", /^ID +NAME +STATE +KEY +EXPIRES +OWNER$/);
    assert.match(shown[3] ?? "", new RegExp(`^${gone.id}  listed gone  revoked  `));
    // The columns stand below each other.
    assert.equal(new Set(shown.map((line) => line.search(/STATE|active|revoked/))).size, 1);

    const none = operator.start(["key", "list", "--name", "no such key"]);
    assert.deepEqual(await none.ended(), { code: 0, signal: null });
    assert.deepEqual([none.stdout, none.stderr], ["", "latchkey: there are none\n"]);
  });

  it("revokes for good, with the reason", async (t) => {
    const operator = operatorOf(t, service);
    const { id, secret } = await create(operator, "leaked");
    const { apiKey } = await operator.asks(["key", "revoke", id, "--reason", "left in a repository"]);
    assert.equal(apiKey.revokeReason, "left in a repository");
    assert.equal(await use(secret), "API_KEY_REVOKED");
    const shown = await operator.does(["key", "get", id]);
    assert.equal(field(shown, "state"), "revoked");
    assert.match(field(shown, "revoked") ?? "", /^20.*Z \(left in a repository\)$/);
    assert.match(await operator.fails(["key", "update", id, "--name", "alive"]), /^KEY_NOT_ACTIVE: /);
  });

  it("revokes a key that was found by its secret alone, which nobody sees", async (t) => {
    const { secret } = await create(operatorOf(t, service), "found");
    // Whoever finds it has no credential of their own.
    const finder = operatorOf(t, service, mintKey("sk").text);
    const command = finder.start(["key", "revoke-own", "--reason", "found"], { input: `${secret}\n` });
    assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.stderr);
    assert.deepEqual([command.stdout, command.stderr], ["revoked\n", ""]);
    assert.equal(await use(secret), "API_KEY_REVOKED");

    const made = mintKey("ak").text;
    const wrong = finder.start(["key", "revoke-own"], { input: made });
    assert.equal((await wrong.ended()).code, 1);
    assert.match(wrong.stderr, /^latchkey: API_KEY_INVALID: /);
    assert.ok(!wrong.stderr.includes(made));
    assert.equal(await finder.fails(["key", "revoke-own"], { input: "\n" }), "standard input holds no key");
  });

  describe("a rotation", () => {
    it("has both secrets work, shows both, and ends with the old one refused", async (t) => {
      const operator = operatorOf(t, service);
      const { id, secret: old } = await create(operator, "rotated");
      const { apiKey, secret } = await operator.asks(["key", "rotate", id, "--overlap", "24h"]);
      assert.equal(apiKey.slots.length, 2);
      const overlap = Date.parse(apiKey.slots[1].expireTime) - Date.parse(apiKey.slots[0].createTime);
      assert.ok(Math.abs(overlap - 24 * 3_600_000) < PATIENCE, String(overlap));
      assert.deepEqual([await use(old), await use(secret)], [undefined, undefined]);

      const shown = linesOf(await operator.does(["key", "get", id]));
      const slots = shown.slice(shown.findIndex((line) => line.startsWith("SLOT")));
      assert.match(slots[0] ?? "", /^SLOT +SECRET +CREATED +EXPIRES +LAST USED$/);
      assert.match(
        slots[1] ?? "",
        new RegExp(`^2 +${secret.slice(0, secret.lastIndexOf("_"))} .* with the key `),
      );
      assert.match(slots[2] ?? "", new RegExp(`^1 +${old.slice(0, old.lastIndexOf("_"))} `));
      assert.match(
        await operator.fails(["key", "rotate", id, "--overlap", "1h"]),
        /^ROTATION_IN_PROGRESS: .*finish-rotation/,
      );

      await operator.does(["key", "finish-rotation", id, "--yes"]);
      assert.deepEqual([await use(old), await use(secret)], ["API_KEY_ROTATED", undefined]);
      assert.match(await operator.fails(["key", "finish-rotation", id]), /^ROTATION_NOT_IN_PROGRESS: /);
    });

    it("is taken back, and the old secret goes on", async (t) => {
      const operator = operatorOf(t, service);
      const { id, secret: old } = await create(operator, "taken back");
      const { secret } = await operator.asks(["key", "rotate", id, "--overlap", "2d"]);
      const { apiKey } = await operator.asks(["key", "cancel-rotation", id]);
      assert.equal(apiKey.slots.length, 1);
      assert.equal(await use(old), undefined);
      assert.notEqual(await use(secret), undefined);
      assert.match(await operator.fails(["key", "cancel-rotation", id]), /^ROTATION_NOT_IN_PROGRESS: /);
    });

    it("without an overlap ends the old secret now", async (t) => {
      const operator = operatorOf(t, service);
      const { id, secret: old } = await create(operator, "at once");
      const { apiKey, secret } = await operator.asks(["key", "rotate", id, "--overlap", "0"]);
      assert.equal(apiKey.slots.length, 1);
      assert.deepEqual([await use(old), await use(secret)], ["API_KEY_ROTATED", undefined]);
    });

    it("is not finished while somebody uses the old secret, unless told so", async (t) => {
      const operator = operatorOf(t, service);
      const { id, secret: old } = await create(operator, "in use");
      await operator.does(["key", "rotate", id, "--overlap", "24h"]);
      assert.equal(await use(old), undefined);
      await until("the use is known", async () => (await slotsOf(operator, id))[1].lastUseTime !== undefined);

      const refused = operator.start(["key", "finish-rotation", id]);
      assert.equal((await refused.ended()).code, 1);
      const [seen = "", why = ""] = linesOf(refused.stderr);
      assert.match(seen, /^latchkey: the old secret, ak_\w+…, was last used: 20.*Z from 203\.0\.113\.7$/);
      assert.match(why, /^latchkey: somebody has used the old secret since the rotation.*--yes/);
      assert.equal(await use(old), undefined);

      await operator.does(["key", "finish-rotation", id, "--yes"]);
      assert.equal(await use(old), "API_KEY_ROTATED");
    });

    it("is finished without more ado where the old secret was last used before it", async (t) => {
      const operator = operatorOf(t, service);
      const { id, secret: old } = await create(operator, "was in use");
      assert.equal(await use(old), undefined);
      await until("the use is known", async () => (await slotsOf(operator, id))[0].lastUseTime !== undefined);
      await operator.does(["key", "rotate", id, "--overlap", "24h"]);
      const command = operator.start(["key", "finish-rotation", id]);
      assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.stderr);
      assert.match(command.stderr, /was last used: 20/);
      assert.equal(await use(old), "API_KEY_ROTATED");
    });

    async function slotsOf(operator: Operator, id: string) {
      return (await operator.asks(["key", "get", id])).apiKey.slots;
    }
  });

  it("tells how often a key was used, by day and by secret", async (t) => {
    const operator = operatorOf(t, service);
    const { id, secret: old } = await create(operator, "counted");
    const { secret } = await operator.asks(["key", "rotate", id, "--overlap", "24h"]);
    for (const text of [old, secret, secret]) {
      assert.equal(await use(text), undefined);
    }
    const total = async () => {
      const { days } = await operator.asks(["key", "usage", id, "--days", "2"]);
      return days.reduce((sum: number, day: { allowed: string }) => sum + Number(day.allowed), 0);
    };
    await until("three uses are known", async () => (await total()) === 3);
    const { days, slots } = await operator.asks(["key", "usage", id]);
    assert.equal(slots.length, 2);
    // Unless midnight has passed between, that is today.
    if (days.length === 1) {
      const shown = linesOf(await operator.does(["key", "usage", id]));
      assert.match(shown[0] ?? "", /^DAY +ALLOWED +REFUSED +SECRET$/);
      assert.match(shown[1] ?? "", /^\d{4}-\d\d-\d\d +3 +0$/);
      const parts = shown.slice(2, 4).map((line) => line.trim().split(/ +/));
      assert.deepEqual(
        new Set(parts.map(([allowed, , prefix]) => `${allowed} ${prefix}`)),
        new Set([`1 ${old.slice(0, old.lastIndexOf("_"))}`, `2 ${secret.slice(0, secret.lastIndexOf("_"))}`]),
      );
      assert.match(shown[4] ?? "", /^SLOT /);
    }
  });

  it("walks all the pages of a list, and ends early without a word where nobody reads on", async (t) => {
    const many = await startService();
    cleanup(t).defer(() => many.stop());
    await fill(many, 600);
    const operator = operatorOf(t, many);
    const all = await operator.lists(["key", "list"]);
    // And the one that every service has.
    assert.equal(new Set(all.map(({ id }) => id)).size, 601);
    assert.equal((await operator.lists(["key", "list", "--limit", "300"])).length, 300);
    assert.equal(linesOf(await operator.does(["key", "list"])).length, 602);

    for (const json of [[], ["--json"]]) {
      const command = operator.start(["key", "list", ...json], { readsLines: 1 });
      assert.deepEqual(await command.ended(PATIENCE), { code: 0, signal: null });
      assert.deepEqual(linesOf(command.stdout).slice(1), ["code 0"]);
      assert.equal(command.stderr, "");
    }
  });
});

/** Adds API keys, past the service. */
async function fill({ core, organizationId, admin }: TestService, count: number): Promise<void> {
  await core.storage.fork().transactional(async (em) => {
    for (let index = 0; index < count; index++) {
      await insertApiKey(em, core.keyHasher, mintKey("ak"), {
        name: `key ${index}`,
        permissions: ["calls.read"],
        environment: "",
        allowedCidrs: [],
        expireTime: undefined,
        organizationId,
        creatorId: admin.id,
        owner: { userId: admin.id },
      });
    }
  });
}
