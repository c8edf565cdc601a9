import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { v4 as uuidv4 } from "uuid";
import { bearer, type Headers, makeWorld } from "../access/actors.ts";
import { addUser } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { ApiKeyService, ServiceKeyService, startService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { type KeyDriver, keyDrivers } from "./key-drivers.ts";

const HOUR = 3_600;

const service: TestService = await startService();
/** Another replica, whose next call each change has to reach. */
const other: TestService = await startService({ beside: service });
let admin: Headers;
before(async () => {
  admin = bearer(await service.logIn());
});
after(async () => {
  await other.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const eventsOf = (id: string) =>
  run<{ action: string; actor_type: string; actor_id: string; detail: Record<string, unknown> }>(
    "select action, actor_type, actor_id, detail from audit_events where target_id = $1 order by id",
    id,
  );

const prefixOf = (text: string) => text.slice(0, text.lastIndexOf("_"));

keyDrivers(service).forEach((driver, at) => {
  const elsewhere = keyDrivers(other)[at] as KeyDriver;
  const { reasons } = driver;
  /** What the two replicas say of a secret. */
  const refusals = async (text: string) => {
    const both = [await elsewhere.refusal(text), await driver.refusal(text)];
    assert.equal(both[0], both[1]);
    return both[0];
  };
  /** Ends an overlap, as time would. */
  const endOverlap = (id: string) =>
    run(
      `update ${driver.table}_slots set expire_time = now() where ${driver.table}_id = $1 and expire_time is not null`,
      id,
    );

  describe(`rotation of an ${driver.name}`, () => {
    test("both secrets work while it goes on, and the new one is told once", async () => {
      const { id, text } = await driver.add();
      const { key, secret } = await driver.rotate(id, HOUR, admin);
      assert.notEqual(secret, text);
      assert.equal(await refusals(text), undefined);
      assert.equal(await refusals(secret), undefined);
      const seen = await driver.get(id, admin);
      assert.deepEqual(seen, key);
      assert.equal(
        JSON.stringify(seen, (_, value) => (typeof value === "bigint" ? "" : value)).includes(secret),
        false,
      );
    });

    test("a secret that a key got by rotating another ends when that key is revoked; the older one goes on", async () => {
      const write = driver.table === "api_key" ? "auth.api_keys.write" : "platform.service_keys.write";
      const rotator = await driver.add({ permissions: [write, "calls.read"] });
      const { id, text } = await driver.add({ permissions: ["calls.read"] });
      const { secret } = await driver.rotate(id, HOUR, { [driver.header]: rotator.text });
      assert.equal(await refusals(secret), undefined);
      await driver.revoke(rotator.id, admin);
      assert.equal(await refusals(secret), reasons.rotated);
      assert.equal(await refusals(text), undefined);
      const events = await eventsOf(rotator.id);
      assert.deepEqual(events.at(-1)?.detail["rotated"], [id]);
    });

    test("what was made and rotated with such a secret ends too, however long the chain", async () => {
      const write = driver.table === "api_key" ? "auth.api_keys.write" : "platform.service_keys.write";
      const as = (text: string) => ({ [driver.header]: text });
      const stolen = await driver.add({ permissions: [write, "calls.read"] });
      const sibling = await driver.add({ permissions: [write, "calls.read"] });
      const { secret: second } = await driver.rotate(sibling.id, 0, as(stolen.text));
      const { secret: third } = await driver.rotate(sibling.id, 0, as(second));
      const victim = await driver.add({ permissions: ["calls.read"] });
      const { secret: last } = await driver.rotate(victim.id, HOUR, as(third));
      for (const good of [third, last, victim.text]) {
        assert.equal(await refusals(good), undefined);
      }
      await driver.revoke(stolen.id, admin);
      for (const ended of [second, third, last]) {
        assert.equal(await refusals(ended), reasons.rotated);
      }
      assert.equal(await refusals(victim.text), undefined);
    });

    test("a secret that a revocation ends stays ended, whoever rotates or cancels at the same time", async () => {
      const write = driver.table === "api_key" ? "auth.api_keys.write" : "platform.service_keys.write";
      for (let round = 0; round < 12; round++) {
        const stolen = await driver.add({ permissions: [write, "calls.read"] });
        const victim = await driver.add({ permissions: ["calls.read"] });
        const stolenAs = { [driver.header]: stolen.text };
        const { secret } = await driver.rotate(victim.id, round % 2 === 0 ? 0 : HOUR, stolenAs);
        const beside =
          round % 2 === 0 ? elsewhere.rotate(victim.id, HOUR, admin) : elsewhere.cancel(victim.id, admin);
        await Promise.allSettled([driver.revoke(stolen.id, admin), beside]);
        const refusal = await refusals(secret);
        // A rotation that was taken back leaves no trace of its secret.
        assert.ok(refusal === reasons.rotated || refusal === reasons.invalid, refusal);
      }
    });

    test("its slots are told, the newest first, with the end of the older secret", async () => {
      const { id, text } = await driver.add();
      const before = (await driver.get(id, admin)).slots;
      assert.deepEqual(
        before.map(({ slot, displayPrefix, expireTime }) => ({ slot, displayPrefix, expireTime })),
        [{ slot: 1, displayPrefix: prefixOf(text), expireTime: undefined }],
      );
      const { key, secret } = await driver.rotate(id, HOUR, admin);
      assert.equal(key.displayPrefix, prefixOf(secret));
      const [newer, older] = key.slots;
      assert.deepEqual(
        key.slots.map(({ slot, displayPrefix }) => ({ slot, displayPrefix })),
        [
          { slot: 2, displayPrefix: prefixOf(secret) },
          { slot: 1, displayPrefix: prefixOf(text) },
        ],
      );
      assert.ok(newer?.createTime && older?.createTime && older.expireTime);
      assert.equal(newer.expireTime, undefined);
      assert.ok(timestampDate(newer.createTime) >= timestampDate(older.createTime));
      // It ends an hour after the database's time of the rotation, which is that of the new slot but for a moment.
      const overlap = timestampDate(older.expireTime).getTime() - timestampDate(newer.createTime).getTime();
      assert.ok(Math.abs(overlap - HOUR * 1000) < 10_000, String(overlap));
    });

    test("the old secret ends with the overlap, and is told why", async () => {
      const { id, text } = await driver.add();
      const { secret } = await driver.rotate(id, 1, admin);
      await until("the overlap is over", async () => (await driver.refusal(text)) !== undefined);
      assert.equal(await refusals(text), reasons.rotated);
      assert.equal(await refusals(secret), undefined);
      assert.deepEqual(
        (await driver.get(id, admin)).slots.map(({ displayPrefix }) => displayPrefix),
        [prefixOf(secret)],
      );
    });

    test("an overlap of nothing ends the old secret from the moment that the call answers", async () => {
      const { id, text } = await driver.add();
      const { key, secret } = await driver.rotate(id, 0, admin);
      assert.equal(await refusals(text), reasons.rotated);
      assert.equal(await refusals(secret), undefined);
      assert.equal(key.slots.length, 1);
    });

    test("to finish ends the old secret from the moment that the call answers", async () => {
      const { id, text } = await driver.add();
      const { secret } = await driver.rotate(id, HOUR, admin);
      const key = await driver.finish(id, admin);
      assert.equal(await refusals(text), reasons.rotated);
      assert.equal(await refusals(secret), undefined);
      assert.deepEqual(
        key.slots.map(({ displayPrefix, expireTime }) => ({ displayPrefix, expireTime })),
        [{ displayPrefix: prefixOf(secret), expireTime: undefined }],
      );
    });

    test("to cancel takes the new secret back, and the old one has no end again", async () => {
      const { id, text } = await driver.add();
      const { secret } = await driver.rotate(id, HOUR, admin);
      const key = await driver.cancel(id, admin);
      assert.equal(await refusals(text), undefined);
      assert.equal(await refusals(secret), reasons.invalid);
      assert.deepEqual(
        key.slots.map(({ slot, displayPrefix, expireTime }) => ({ slot, displayPrefix, expireTime })),
        [{ slot: 1, displayPrefix: prefixOf(text), expireTime: undefined }],
      );
    });

    test("one is finished or cancelled only while it goes on", async () => {
      const { id, text } = await driver.add();
      const refuseBoth = async () => {
        await refusedWith("ROTATION_NOT_IN_PROGRESS", driver.finish(id, admin));
        await refusedWith("ROTATION_NOT_IN_PROGRESS", driver.cancel(id, admin));
      };
      await refuseBoth();
      await driver.rotate(id, HOUR, admin);
      await driver.cancel(id, admin);
      await refuseBoth();
      assert.equal(await refusals(text), undefined);
      await driver.rotate(id, HOUR, admin);
      await driver.finish(id, admin);
      await refuseBoth();
      await driver.rotate(id, HOUR, admin);
      await endOverlap(id);
      await refuseBoth();
      await driver.rotate(id, 0, admin);
      await refuseBoth();
    });

    test("there is never a third secret: not before the first has ended", async () => {
      const { id, text } = await driver.add();
      const second = (await driver.rotate(id, HOUR, admin)).secret;
      for (const overlap of [HOUR, 0]) {
        await refusedWith("ROTATION_IN_PROGRESS", driver.rotate(id, overlap, admin));
      }
      assert.equal(await refusals(text), undefined);
      assert.equal(await refusals(second), undefined);
      await endOverlap(id);
      const third = (await driver.rotate(id, HOUR, admin)).secret;
      assert.equal(await refusals(text), reasons.invalid, "its place is taken");
      assert.equal(await refusals(second), undefined);
      assert.equal(await refusals(third), undefined);
      await driver.finish(id, admin);
      const fourth = (await driver.rotate(id, HOUR, admin)).secret;
      assert.equal(await refusals(second), reasons.invalid);
      assert.equal(await refusals(third), undefined);
      assert.equal(await refusals(fourth), undefined);
      await driver.cancel(id, admin);
      assert.equal(await refusals(third), undefined);
    });

    test("whatever is done in whatever order, the secrets that work are those that a plain list says", async () => {
      const steps = fc.constantFrom("rotate", "rotate at once", "finish", "cancel", "end overlap");
      await fc.assert(
        fc.asyncProperty(fc.array(steps, { minLength: 1, maxLength: 8 }), async (done) => {
          const { id, text } = await driver.add();
          /** Every secret that there was, and of these the ones that work, the newest first. */
          const all = [text];
          let works = [text];
          for (const step of done) {
            if (step === "end overlap") {
              await endOverlap(id);
              works = works.slice(0, 1);
            } else if (step === "rotate" || step === "rotate at once") {
              const call = driver.rotate(id, step === "rotate" ? HOUR : 0, admin);
              if (works.length > 1) {
                await refusedWith("ROTATION_IN_PROGRESS", call);
              } else {
                const { secret } = await call;
                all.push(secret);
                works = step === "rotate" ? [secret, ...works] : [secret];
              }
            } else {
              const call = step === "finish" ? driver.finish(id, admin) : driver.cancel(id, admin);
              if (works.length < 2) {
                await refusedWith("ROTATION_NOT_IN_PROGRESS", call);
              } else {
                await call;
                works = step === "finish" ? works.slice(0, 1) : works.slice(1);
              }
            }
            const { slots } = await driver.get(id, admin);
            assert.deepEqual(
              slots.map(({ displayPrefix }) => displayPrefix),
              works.map(prefixOf),
            );
            for (const secret of all) {
              const reason = await driver.refusal(secret);
              const isAsItShould = works.includes(secret)
                ? reason === undefined
                : reason === reasons.rotated || reason === reasons.invalid;
              assert.ok(isAsItShould, `${reason} after ${done.join(", ")}`);
            }
          }
        }),
        { numRuns: 25 },
      );
    });

    test("both secrets end with the key: revoked, or expired", async () => {
      const ends = [
        ["revoke_time", reasons.revoked],
        ["expire_time", reasons.expired],
      ] as const;
      for (const [column, reason] of ends) {
        const { id, text } = await driver.add();
        const { secret } = await driver.rotate(id, HOUR, admin);
        await run(`update ${driver.table}s set ${column} = now() where id = $1`, id);
        assert.equal(await refusals(text), reason);
        assert.equal(await refusals(secret), reason);
      }
    });

    test("a key that was revoked is neither rotated nor finished nor cancelled nor changed", async () => {
      const { id } = await driver.add();
      await driver.rotate(id, HOUR, admin);
      await driver.revoke(id, admin);
      const events = await eventsOf(id);
      await refusedWith("KEY_NOT_ACTIVE", driver.rotate(id, HOUR, admin));
      await refusedWith("KEY_NOT_ACTIVE", driver.finish(id, admin));
      await refusedWith("KEY_NOT_ACTIVE", driver.cancel(id, admin));
      await refusedWith("KEY_NOT_ACTIVE", driver.update({ id, allowedCidrs: { values: [] } }, admin));
      assert.deepEqual(await eventsOf(id), events);
    });

    test("a key that has expired is not rotated, and is once it has a later end", async () => {
      const { id, text } = await driver.add({ expireTime: new Date(Date.now() - 1000) });
      assert.equal(await refusals(text), reasons.expired);
      await refusedWith("KEY_NOT_ACTIVE", driver.rotate(id, HOUR, admin));
      const value = { seconds: BigInt(Math.floor(Date.now() / 1000) + HOUR) };
      await driver.update({ id, expiry: { case: "expireTime", value } }, admin);
      assert.equal(await refusals(text), undefined);
      await driver.rotate(id, HOUR, admin);
    });

    test("no beginning of either secret is one, and neither is one with the other's end", async () => {
      const { id, text } = await driver.add();
      const { secret } = await driver.rotate(id, HOUR, admin);
      const wrong = [text, secret].flatMap((whole) => [
        ...Array.from({ length: whole.length - 1 }, (_, length) => whole.slice(0, length + 1)),
        `${whole}0`,
        whole.slice(1),
        whole.toUpperCase(),
        whole.toLowerCase(),
      ]);
      wrong.push(prefixOf(text) + secret.slice(prefixOf(secret).length));
      wrong.push(prefixOf(secret) + text.slice(prefixOf(text).length));
      for (const each of wrong) {
        assert.equal(await driver.refusal(each), reasons.invalid, each);
      }
      assert.equal(await refusals(text), undefined);
      assert.equal(await refusals(secret), undefined);
    });

    test("what was done is on record, by whom, and no secret is", async () => {
      const { id, text } = await driver.add();
      const { key, secret } = await driver.rotate(id, HOUR, admin);
      const end = key.slots[1]?.expireTime;
      const oldExpireTime = end && timestampDate(end).toISOString();
      await driver.cancel(id, admin);
      const second = await driver.rotate(id, HOUR, admin);
      await driver.finish(id, admin);
      const events = await eventsOf(id);
      assert.deepEqual(
        events.map(({ action, actor_type, actor_id }) => ({ action, actor_type, actor_id })),
        ["rotate", "cancel_rotation", "rotate", "finish_rotation"].map((done) => ({
          action: `${driver.action}.${done}`,
          actor_type: "user",
          actor_id: service.admin.id,
        })),
      );
      const [rotated, cancelled] = events.map(({ detail }) => detail);
      assert.deepEqual(rotated, {
        before: { displayPrefix: prefixOf(text) },
        after: { displayPrefix: prefixOf(secret), oldExpireTime },
      });
      assert.deepEqual(cancelled, {
        before: { displayPrefix: prefixOf(secret) },
        after: { displayPrefix: prefixOf(text) },
      });
      const record = JSON.stringify(events);
      for (const each of [text, secret, second.secret]) {
        assert.equal(record.includes(each.slice(prefixOf(each).length)), false);
      }
    });

    test("an overlap must be given, from nothing to 90 days", async () => {
      const { id, text } = await driver.add();
      const overlaps = [undefined, { seconds: -1n }, { seconds: 7_776_001n }, { seconds: 0n, nanos: -1 }];
      // The rules beside the field look at the seconds. google.protobuf.Duration has fewer nanoseconds.
      overlaps.push({ seconds: 1n, nanos: 1_000_000_000 });
      for (const overlap of overlaps) {
        const asked = { id, ...(overlap && { overlap }) };
        const call =
          driver.table === "api_key"
            ? service.client(ApiKeyService, admin).rotateApiKey(asked)
            : service.client(ServiceKeyService, admin).rotateServiceKey(asked);
        await refusedWith("REQUEST_INVALID", call);
      }
      assert.equal(await refusals(text), undefined);
      assert.equal((await driver.get(id, admin)).slots.length, 1);
    });

    test("a key that there is not is not found", async () => {
      const id = uuidv4();
      await refusedWith("NOT_FOUND", driver.get(id, admin));
      await refusedWith("NOT_FOUND", driver.update({ id }, admin));
      await refusedWith("NOT_FOUND", driver.rotate(id, HOUR, admin));
      await refusedWith("NOT_FOUND", driver.finish(id, admin));
      await refusedWith("NOT_FOUND", driver.cancel(id, admin));
    });
  });
});

test("what an internal key's own API keys got by rotating ends with the internal key", async () => {
  const [, internalKeys] = keyDrivers(service);
  assert.ok(internalKeys);
  const [apiKeys] = keyDrivers(service);
  assert.ok(apiKeys);
  const maker = await internalKeys.add({ permissions: ["auth.api_keys.write", "calls.read"] });
  const { secret: made } = await service
    .client(ApiKeyService, { "x-internal-key": maker.text, "x-org-id": service.organizationId })
    .createApiKey({ name: "made", permissions: ["auth.api_keys.write", "calls.read"] });
  const victim = await apiKeys.add({ permissions: ["calls.read"] });
  const { secret } = await apiKeys.rotate(victim.id, HOUR, { "x-api-key": made });
  assert.equal(await apiKeys.refusal(secret), undefined);
  await internalKeys.revoke(maker.id, admin);
  assert.equal(await apiKeys.refusal(secret), "API_KEY_ROTATED");
  assert.equal(await apiKeys.refusal(victim.text), undefined);
});

test("a new secret keeps the key's environment label, and has the prefix that is in use now", async () => {
  const keys = service.client(ApiKeyService, admin);
  const made = await keys.createApiKey({ name: "k", permissions: ["calls.read"], environment: "test" });
  assert.match(made.secret, /^ak_test_/);
  const id = made.apiKey?.id ?? "";
  const renamed = await startService({ beside: service, apiKeyPrefix: "nk", apiKeyOldPrefixes: ["ak"] });
  try {
    const [driver] = keyDrivers(renamed) as [KeyDriver];
    const { secret } = await driver.rotate(id, HOUR, admin);
    assert.match(secret, /^nk_test_/);
    assert.equal(await driver.refusal(secret), undefined);
    assert.equal(await driver.refusal(made.secret), undefined);
  } finally {
    await renamed.stop();
  }
});

test("the keys of another organization are not found, by whatever changes one", async () => {
  const { globex, acme, password } = await makeWorld(service);
  const owner = await addUser(service.core, { organizationId: acme.id, role: "owner", password });
  const headers = bearer(await service.logIn(owner.email, password.text));
  const [driver] = keyDrivers(service) as [KeyDriver];
  const id = globex.apiKeyId;
  await refusedWith("NOT_FOUND", driver.rotate(id, HOUR, headers));
  await refusedWith("NOT_FOUND", driver.finish(id, headers));
  await refusedWith("NOT_FOUND", driver.cancel(id, headers));
  await refusedWith("NOT_FOUND", driver.update({ id, allowedCidrs: { values: [] } }, headers));
  await refusedWith("NOT_FOUND", service.client(ApiKeyService, headers).getApiKeyUsage({ id }));
});
