import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { apiKey, bearer, type Headers, internalKey } from "../access/actors.ts";
import { addUser, makePassword } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf } from "../support/refusal.ts";
import { ApiKeyService, ServiceKeyService, startService, type TestService } from "../support/service.ts";
import { type KeyDriver, keyDrivers } from "./key-drivers.ts";
import { holdRows } from "./row-lock.ts";

const HOUR = 3_600;

const service: TestService = await startService();
const other: TestService = await startService({ beside: service });
let admin: Headers;
/** Somebody else who may do as much. */
let second: { readonly id: string; readonly headers: Headers };

before(async () => {
  admin = bearer(await service.logIn());
  const password = await makePassword(service.core);
  const { organizationId } = service;
  const asked = { organizationId, role: "owner", password, platformRole: "administrator" } as const;
  const { id, email } = await addUser(service.core, asked);
  second = { id, headers: bearer(await service.logIn(email, password.text)) };
});
after(async () => {
  await other.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

/** How many of these reasons there are; undefined is that of a call that was answered. */
const tally = (reasons: readonly (string | undefined)[]) =>
  Object.fromEntries(
    Object.entries(Object.groupBy(reasons, (reason) => reason ?? "done")).map(([reason, of]) => [
      reason,
      of?.length,
    ]),
  );

keyDrivers(service).forEach((driver, at) => {
  const elsewhere = keyDrivers(other)[at] as KeyDriver;
  const { reasons } = driver;
  const isApiKey = driver.table === "api_key";
  const write = isApiKey ? "auth.api_keys.write" : "platform.service_keys.write";
  const headersOf = (text: string) => (isApiKey ? apiKey(text) : internalKey(text));
  const hold = (id: string, strength = "update") =>
    holdRows(service.connection, `select from ${driver.table}s where id = $1 for ${strength}`, [id]);
  const slotsOf = (id: string) =>
    run<{ display_prefix: string; expire_time: Date | null }>(
      `select display_prefix, expire_time from ${driver.table}_slots where ${driver.table}_id = $1`,
      id,
    );
  /** Makes calls that all wait for the key, one after the other, and then lets go of it. */
  async function meet<Result>(
    id: string,
    calls: readonly (() => Promise<Result>)[],
  ): Promise<PromiseSettledResult<Result>[]> {
    await using held = await hold(id);
    const begun: Promise<Result>[] = [];
    for (const call of calls) {
      const result = call();
      result.catch(() => {});
      begun.push(result);
      await held.waiting(begun.length);
    }
    await held.release();
    return await Promise.allSettled(begun);
  }
  const reasonsOf = (results: readonly PromiseSettledResult<unknown>[]) =>
    Promise.all(
      results.map((each) =>
        reasonOf(each.status === "fulfilled" ? Promise.resolve() : Promise.reject(each.reason)),
      ),
    );

  describe(`an ${driver.name}`, () => {
    test("of ten rotations at once, on two replicas, exactly one is made", async () => {
      const { id, text } = await driver.add();
      const calls = Array.from({ length: 10 }, (_, turn) => () => {
        const { rotate } = turn % 2 === 0 ? driver : elsewhere;
        return rotate(id, HOUR, turn < 5 ? admin : second.headers);
      });
      const results = await meet(id, calls);
      assert.deepEqual(tally(await reasonsOf(results)), { done: 1, ROTATION_IN_PROGRESS: 9 });
      const [made] = results.filter((each) => each.status === "fulfilled");
      assert.equal(await driver.refusal(made?.value.secret ?? ""), undefined);
      assert.equal(await driver.refusal(text), undefined);
      assert.equal((await slotsOf(id)).length, 2);
    });

    test("that rotates itself ten times at once does it once, and nobody waits in vain", async () => {
      const { id, text } = await driver.add({ permissions: [write] });
      const results = await Promise.all(
        Array.from({ length: 10 }, (_, turn) =>
          reasonOf((turn % 2 === 0 ? driver : elsewhere).rotate(id, HOUR, headersOf(text))),
        ),
      );
      assert.equal(results.filter((reason) => reason === undefined).length, 1, String(results));
      // Whoever came when the rotation was made already presented a secret that has an end.
      const others = new Set(results.filter((reason) => reason !== undefined));
      assert.deepEqual(
        others.difference(new Set(["ROTATION_IN_PROGRESS", "PERMISSION_NOT_HELD"])),
        new Set(),
      );
      assert.equal((await slotsOf(id)).length, 2);
    });

    test("and another that rotate each other at once both get it", async () => {
      const [one, two] = [
        await driver.add({ permissions: [write] }),
        await driver.add({ permissions: [write] }),
      ];
      // Each may be held by many, and locked by none.
      await using first = await hold(one.id, "share");
      await using last = await hold(two.id, "share");
      const calls = [
        reasonOf(driver.rotate(two.id, HOUR, headersOf(one.text))),
        reasonOf(elsewhere.rotate(one.id, HOUR, headersOf(two.text))),
      ];
      await first.waiting(2);
      await first.release();
      await last.release();
      assert.deepEqual(await Promise.all(calls), [undefined, undefined]);
    });

    test("that is revoked while it is rotated has no secret that works", async () => {
      for (const rotateFirst of [true, false]) {
        const { id, text } = await driver.add();
        const rotate = () => driver.rotate(id, HOUR, admin);
        const revoke = async () => ({ key: await elsewhere.revoke(id, second.headers), secret: "" });
        const results = await meet(id, rotateFirst ? [rotate, revoke] : [revoke, rotate]);
        const [rotated, revoked] = rotateFirst ? results : results.toReversed();
        assert.deepEqual(await reasonsOf(revoked ? [revoked] : []), [undefined]);
        if (rotated?.status === "fulfilled") {
          assert.equal(await driver.refusal(rotated.value.secret), reasons.revoked);
        } else {
          assert.deepEqual(await reasonsOf(rotated ? [rotated] : []), ["KEY_NOT_ACTIVE"]);
          assert.equal((await slotsOf(id)).length, 1);
        }
        assert.equal(await driver.refusal(text), reasons.revoked);
      }
    });

    test("whose rotation is finished and cancelled at once has one secret, that of whoever was answered", async () => {
      for (const finishFirst of [true, false]) {
        const { id, text } = await driver.add();
        const { secret } = await driver.rotate(id, HOUR, admin);
        const finish = () => driver.finish(id, admin);
        const cancel = () => elsewhere.cancel(id, second.headers);
        const results = await meet(id, finishFirst ? [finish, cancel] : [cancel, finish]);
        const outcomes = await reasonsOf(finishFirst ? results : results.toReversed());
        assert.deepEqual(tally(outcomes), { done: 1, ROTATION_NOT_IN_PROGRESS: 1 });
        const isFinished = outcomes[0] === undefined;
        assert.equal(await driver.refusal(secret), isFinished ? undefined : reasons.invalid);
        assert.equal(await driver.refusal(text), isFinished ? reasons.rotated : undefined);
      }
    });

    test("whose rotation is finished is not put back by who began to cancel before", async () => {
      const { id, text } = await driver.add();
      const { secret } = await driver.rotate(id, HOUR, admin);
      // Whoever cancels has begun, and waits for something else than the key.
      const ofSecond = "select from memberships where user_id = $1 for update";
      await using held = await holdRows(service.connection, ofSecond, [second.id]);
      const cancelled = reasonOf(elsewhere.cancel(id, second.headers));
      await held.waiting(1);
      await driver.finish(id, admin);
      await held.release();
      assert.equal(await cancelled, "ROTATION_NOT_IN_PROGRESS");
      assert.equal(await driver.refusal(text), reasons.rotated);
      assert.equal(await driver.refusal(secret), undefined);
    });

    test("that is changed by ten at once goes through each change, and none is lost", async () => {
      const { id } = await driver.add();
      const ranges = Array.from({ length: 10 }, (_, turn) => `10.${turn}.0.0/16`);
      const results = await meet(
        id,
        ranges.map((range, turn) => () => {
          const { update } = turn % 2 === 0 ? driver : elsewhere;
          return update({ id, allowedCidrs: { values: [range] } }, turn < 5 ? admin : second.headers);
        }),
      );
      assert.deepEqual(tally(await reasonsOf(results)), { done: 10 });
      const events = await run<{ detail: Record<"before" | "after", { allowedCidrs: string[] }> }>(
        "select detail from audit_events where target_id = $1 and action like '%.update'",
        id,
      );
      const next = new Map(
        events.map(({ detail }) => [String(detail.before.allowedCidrs), String(detail.after.allowedCidrs)]),
      );
      const seen: string[] = [];
      for (let range = next.get(""); range !== undefined; range = next.get(range)) {
        seen.push(range);
      }
      assert.deepEqual(seen.toSorted(), ranges);
      assert.deepEqual((await driver.get(id, admin)).allowedCidrs, seen.slice(-1));
    });

    test("of which two fields are changed at once keeps both changes", async () => {
      const { id } = await driver.add();
      const results = await meet(id, [
        () => driver.update({ id, allowedCidrs: { values: ["10.0.0.0/8"] } }, admin),
        () => elsewhere.update({ id, permissions: { values: ["calls.write"] } }, second.headers),
      ]);
      assert.deepEqual(tally(await reasonsOf(results)), { done: 2 });
      const { allowedCidrs, permissions } = await driver.get(id, admin);
      assert.deepEqual(
        { allowedCidrs, permissions },
        { allowedCidrs: ["10.0.0.0/8"], permissions: ["calls.write"] },
      );
    });

    test("that is revoked while it is changed is changed before, or not at all", async () => {
      for (const updateFirst of [true, false]) {
        const { id } = await driver.add();
        const update = () => driver.update({ id, allowedCidrs: { values: ["10.0.0.0/8"] } }, admin);
        const revoke = () => elsewhere.revoke(id, second.headers);
        const results = await meet(id, updateFirst ? [update, revoke] : [revoke, update]);
        const [updated, revoked] = await reasonsOf(updateFirst ? results : results.toReversed());
        assert.equal(revoked, undefined);
        assert.ok(updated === undefined || updated === "KEY_NOT_ACTIVE", updated);
        const { allowedCidrs } = await driver.get(id, admin);
        assert.deepEqual(allowedCidrs, updated === undefined ? ["10.0.0.0/8"] : []);
      }
    });

    test("that is being revoked changes no other any more", async () => {
      const target = await driver.add();
      const changes: ((as: Headers) => Promise<unknown>)[] = [
        (as) => driver.rotate(target.id, HOUR, as),
        (as) => driver.update({ id: target.id, allowedCidrs: { values: ["10.0.0.0/8"] } }, as),
      ];
      for (const change of changes) {
        const maker = await driver.add({ permissions: [write, "calls.read"] });
        const revoking = `update ${driver.table}s set revoke_time = now() where id = $1`;
        await using held = await holdRows(service.connection, revoking, [maker.id]);
        const changed = reasonOf(change(headersOf(maker.text)));
        await held.waiting(1);
        await held.release();
        assert.equal(await changed, reasons.revoked);
      }
      const { slots, allowedCidrs } = await driver.get(target.id, admin);
      assert.deepEqual([slots.length, allowedCidrs], [1, []]);
    });

    test("that is revoked takes with it what is being made with what was made with it", async () => {
      const root = await driver.add({ permissions: [write, "calls.read"] });
      const make = async (as: Headers) => {
        const asked = { name: uuidv4(), permissions: [write, "calls.read"] };
        return isApiKey
          ? (await service.client(ApiKeyService, as).createApiKey(asked)).secret
          : (await service.client(ServiceKeyService, as).createServiceKey(asked)).secret;
      };
      const child = await make(headersOf(root.text));
      // It is in the database, and nobody else sees it yet: its record waits.
      await using held = await holdRows(service.connection, "lock table audit_events in exclusive mode", []);
      const grandchild = make(headersOf(child));
      await held.waiting(1);
      const revoked = elsewhere.revoke(root.id, second.headers);
      await held.waiting(2);
      await held.release();
      await revoked;
      for (const text of [root.text, child, await grandchild]) {
        assert.equal(await driver.refusal(text), reasons.revoked);
      }
    });
  });
});
