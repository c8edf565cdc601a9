import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { apiKey, bearer, type Headers, internalKey } from "../access/actors.ts";
import { addApiKey, addOrganization, addRole, addServiceKey, addUser, makePassword } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";
import { type KeyDriver, type KeyToAdd, type KeyToUpdate, keyDrivers } from "./key-drivers.ts";

const service: TestService = await startService();
after(() => service.stop());

const HOUR = 3_600;
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000);
const endsIn = (seconds: number): Required<Pick<KeyToUpdate, "expiry">> => ({
  expiry: {
    case: "expireTime",
    value: { seconds: BigInt(Math.floor(inSeconds(seconds).getTime() / 1000)) },
  },
});
const NEVER = { expiry: { case: "neverExpires", value: true } } as const;
const LIMIT = { requests: 100, windowSeconds: 60 };

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

/** What there is of a key, its secrets and its record. */
const traceOf = async ({ table }: KeyDriver, id: string) => ({
  keys: await run(`select * from ${table}s where id = $1`, id),
  slots: await run(`select * from ${table}_slots where ${table}_id = $1 order by slot`, id),
  events: await run("select id from audit_events where target_id = $1", id),
});

/** What somebody tries with a new key that has this. */
interface Attempt {
  readonly target: KeyToAdd;
  readonly act: (driver: KeyDriver, id: string, as: Headers) => Promise<unknown>;
}

const WEAK: KeyToAdd = { permissions: ["calls.read"] };
const STRONG: KeyToAdd = { permissions: ["calls.read", "calls.write"] };
/** Within everything that bounds the one who is bound. */
const BOUND: KeyToAdd = {
  ...WEAK,
  expireTime: inSeconds(HOUR / 2),
  allowedCidrs: ["127.0.0.1/32"],
  rateLimit: { requests: 1, windowSeconds: 60 },
};

const rotate: Attempt["act"] = (driver, id, as) => driver.rotate(id, HOUR, as);
const update =
  (change: Omit<KeyToUpdate, "id">): Attempt["act"] =>
  (driver, id, as) =>
    driver.update({ id, ...change }, as);
/** Of a rotation that is going on. */
const cancel: Attempt["act"] = async (driver, id, as) => {
  await driver.rotate(id, HOUR, admin);
  await driver.cancel(id, as);
};
const finish: Attempt["act"] = async (driver, id, as) => {
  await driver.rotate(id, HOUR, admin);
  await driver.finish(id, as);
};

const ATTEMPTS = {
  "rotate what is weak": { target: WEAK, act: rotate },
  "rotate what is strong": { target: STRONG, act: rotate },
  "rotate a key for everything": { target: { permissions: ["*"] }, act: rotate },
  "rotate what is bound": { target: BOUND, act: rotate },
  "add what is strong": {
    target: WEAK,
    act: update({ permissions: { values: ["calls.read", "calls.write"] } }),
  },
  "add a pattern": { target: WEAK, act: update({ permissions: { values: ["calls.*"] } }) },
  "take away": { target: STRONG, act: update({ permissions: { values: ["calls.read"] } }) },
  "make a pattern a name": {
    target: { permissions: ["calls.*"] },
    act: update({ permissions: { values: ["calls.hold"] } }),
  },
  "end earlier": { target: STRONG, act: update(endsIn(HOUR / 4)) },
  "narrow the addresses": { target: STRONG, act: update({ allowedCidrs: { values: ["10.0.0.0/8"] } }) },
  "end what is strong later": {
    target: { ...STRONG, expireTime: inSeconds(HOUR / 8) },
    act: update(endsIn(HOUR / 4)),
  },
  "renew what was strong": {
    target: { ...STRONG, expireTime: inSeconds(-60) },
    act: update(endsIn(HOUR / 4)),
  },
  "use what is strong elsewhere": {
    target: { ...STRONG, allowedCidrs: ["10.0.0.0/8"] },
    act: update({ allowedCidrs: { values: ["10.0.0.0/8", "127.0.0.1/32"] } }),
  },
  "end what is bound later": { target: BOUND, act: update(endsIn(HOUR * 0.75)) },
  "end what is bound much later": { target: BOUND, act: update(endsIn(HOUR * 2)) },
  "never end what is bound": { target: BOUND, act: update(NEVER) },
  "use what is bound nearby": { target: BOUND, act: update({ allowedCidrs: { values: ["127.0.0.0/24"] } }) },
  "use what is bound elsewhere": {
    target: BOUND,
    act: update({ allowedCidrs: { values: ["127.0.0.1/32", "10.0.0.0/8"] } }),
  },
  "use what is bound anywhere": { target: BOUND, act: update({ allowedCidrs: { values: [] } }) },
  "add to what is bound": {
    target: BOUND,
    act: update({ permissions: { values: ["calls.read", "calls.write"] } }),
  },
  "cancel for what is weak": { target: WEAK, act: cancel },
  "cancel for what is strong": { target: STRONG, act: cancel },
  "cancel for what is bound": { target: BOUND, act: cancel },
  "finish for what is strong": { target: STRONG, act: finish },
} as const satisfies Record<string, Attempt>;
type Name = keyof typeof ATTEMPTS;

const EVERYTHING = Object.keys(ATTEMPTS) as Name[];
/** These give nothing to anybody. */
const HARMLESS: readonly Name[] = [
  "take away",
  "make a pattern a name",
  "end earlier",
  "narrow the addresses",
  "finish for what is strong",
];
/** What somebody may do who holds `calls.read` and is not bound. */
const OF_THE_NARROW: readonly Name[] = [
  ...HARMLESS,
  "rotate what is weak",
  "rotate what is bound",
  "end what is bound later",
  "end what is bound much later",
  "never end what is bound",
  "use what is bound nearby",
  "use what is bound elsewhere",
  "use what is bound anywhere",
  "cancel for what is weak",
  "cancel for what is bound",
];
/** What somebody may do who holds `calls.write` too, for an hour, from this host, and not too often. */
const OF_THE_BOUND: readonly Name[] = [
  ...HARMLESS,
  "rotate what is bound",
  "end what is bound later",
  "use what is bound nearby",
  "add to what is bound",
  "cancel for what is bound",
];

let admin: Headers;
/** Who may change keys of this kind, and what they may do. */
const actors: Record<string, Record<string, { readonly as: Headers; readonly may: readonly Name[] }>> = {};

before(async () => {
  const { core, organizationId } = service;
  admin = bearer(await service.logIn());
  const password = await makePassword(core);
  const person = async (role: string, more: { platformRole?: "administrator" } = {}) => {
    const { email } = await addUser(core, { organizationId, role, password, ...more });
    return bearer(await service.logIn(email, password.text));
  };
  await addRole(core, {
    organizationId,
    name: "keeper",
    permissions: ["auth.api_keys.write", "calls.read"],
  });
  const key = async (permissions: string[], more: KeyToAdd = {}) => {
    const owner = { userId: service.admin.id };
    return apiKey((await addApiKey(core, { organizationId, owner, permissions, ...more })).text);
  };
  const internal = async (permissions: string[], more: Pick<KeyToAdd, "expireTime" | "allowedCidrs"> = {}) =>
    internalKey((await addServiceKey(core, { permissions, ...more })).text);
  const bounds = { expireTime: inSeconds(HOUR), allowedCidrs: ["127.0.0.0/8"] };

  const [write, writeInternal] = ["auth.api_keys.write", "platform.service_keys.write"];
  actors["API key"] = {
    "a narrow key": { as: await key([write, "calls.read"]), may: OF_THE_NARROW },
    "a bound key": {
      as: await key([write, "calls.read", "calls.write"], { ...bounds, rateLimit: LIMIT }),
      may: OF_THE_BOUND,
    },
    "a bound internal key": {
      as: await internal([write, "calls.read", "calls.write"], bounds),
      may: OF_THE_BOUND,
    },
    "a key for nothing": { as: await key([write]), may: HARMLESS },
    "a person with a narrow role": { as: await person("keeper"), may: OF_THE_NARROW },
    "an admin": { as: await person("admin"), may: EVERYTHING },
    "an owner": { as: await person("owner"), may: EVERYTHING },
    "a narrow internal key": { as: await internal([write, "calls.read"]), may: OF_THE_NARROW },
    "an internal key for everything": { as: await internal(["*"]), may: EVERYTHING },
    "a member": { as: await person("member"), may: [] },
  };
  actors["internal key"] = {
    "a narrow internal key": { as: await internal([writeInternal, "calls.read"]), may: OF_THE_NARROW },
    "a bound internal key": {
      as: await internal([writeInternal, "calls.read", "calls.write"], bounds),
      may: OF_THE_BOUND,
    },
    "an internal key for nothing": { as: await internal([writeInternal]), may: HARMLESS },
    "an internal key for everything": { as: await internal(["*"]), may: EVERYTHING },
    "an administrator of the platform who is a viewer": {
      as: await person("viewer", { platformRole: "administrator" }),
      may: OF_THE_NARROW,
    },
    "an administrator of the platform who is an owner": { as: admin, may: EVERYTHING },
    "an owner": { as: await person("owner"), may: [] },
  };
});

for (const driver of keyDrivers(service)) {
  describe(`an ${driver.name}`, () => {
    test("nobody gives to a key, or takes from it, what they could not give to a new one", async () => {
      const outcomes: Record<string, string[]> = {};
      const expected: Record<string, string[]> = {};
      for (const [actor, { as, may }] of Object.entries(actors[driver.name] ?? {})) {
        outcomes[actor] = await Promise.all(
          Object.entries(ATTEMPTS).map(async ([name, { target, act }]) => {
            const { id } = await driver.add(target);
            return `${name}: ${(await reasonOf(act(driver, id, as))) ?? "done"}`;
          }),
        );
        const refusal = may.length === 0 ? "PERMISSION_DENIED" : "PERMISSION_NOT_HELD";
        expected[actor] = EVERYTHING.map((name) => `${name}: ${may.includes(name) ? "done" : refusal}`);
      }
      assert.deepEqual(outcomes, expected);
    });

    test("whatever is refused leaves the key as it was", async () => {
      const { as } = actors[driver.name]?.["a bound internal key"] ?? { as: {} };
      for (const name of EVERYTHING.filter((each) => !OF_THE_BOUND.includes(each))) {
        const { target, act } = ATTEMPTS[name];
        const { id } = await driver.add(target);
        if (act === cancel) {
          await driver.rotate(id, HOUR, admin);
        }
        const before = await traceOf(driver, id);
        await refusedWith(
          "PERMISSION_NOT_HELD",
          act === cancel ? driver.cancel(id, as) : act(driver, id, as),
        );
        assert.deepEqual(await traceOf(driver, id), before, name);
      }
    });

    test("a key does not widen itself, and may narrow itself", async () => {
      const write = driver.table === "api_key" ? "auth.api_keys.write" : "platform.service_keys.write";
      const own = {
        permissions: [write, "calls.read"],
        expireTime: inSeconds(HOUR),
        allowedCidrs: ["127.0.0.0/8"],
      };
      const { id, text } = await driver.add(own);
      const as = driver.table === "api_key" ? apiKey(text) : internalKey(text);
      const before = await traceOf(driver, id);
      const changes: Omit<KeyToUpdate, "id">[] = [
        endsIn(HOUR * 2),
        NEVER,
        { allowedCidrs: { values: [] } },
        { allowedCidrs: { values: ["127.0.0.0/8", "10.0.0.0/8"] } },
        { allowedCidrs: { values: ["0.0.0.0/0"] } },
        { permissions: { values: [write, "calls.read", "calls.write"] } },
        { permissions: { values: ["*"] } },
        { ...endsIn(HOUR * 2), permissions: { values: ["calls.read"] } },
      ];
      for (const change of changes) {
        await refusedWith("PERMISSION_NOT_HELD", driver.update({ id, ...change }, as));
      }
      assert.deepEqual(await traceOf(driver, id), before);
      await driver.update({ id, ...endsIn(HOUR / 2), allowedCidrs: { values: ["127.0.0.1/32"] } }, as);
      await driver.update({ id, permissions: { values: [write] } }, as);
      await refusedWith(
        "PERMISSION_NOT_HELD",
        driver.update({ id, permissions: { values: [write, "calls.read"] } }, as),
      );
    });

    test("a secret that is about to end gets no more time out of the key that it belongs to", async () => {
      const write = driver.table === "api_key" ? "auth.api_keys.write" : "platform.service_keys.write";
      const { id, text } = await driver.add({ permissions: [write] });
      const headersOf = (secret: string) =>
        driver.table === "api_key" ? apiKey(secret) : internalKey(secret);
      const { secret } = await driver.rotate(id, HOUR, admin);
      const before = await traceOf(driver, id);
      await refusedWith("PERMISSION_NOT_HELD", driver.cancel(id, headersOf(text)));
      const sibling = await driver.add({ permissions: [write] });
      await refusedWith("PERMISSION_NOT_HELD", driver.rotate(sibling.id, HOUR, headersOf(text)));
      assert.deepEqual(await traceOf(driver, id), before);
      // Whoever has the new one has all that the key may do, and may give it away.
      await driver.cancel(id, headersOf(secret));
      assert.equal(await driver.refusal(text), undefined);
    });
  });
}

test("a key with a rate limit hands out no looser one: not made, not changed, not rotated", async () => {
  const { core, organizationId } = service;
  const owner = { userId: service.admin.id };
  const permissions = ["auth.api_keys.write", "calls.read"];
  const add = (rateLimit?: { requests: number; windowSeconds: number }) =>
    addApiKey(core, { organizationId, owner, permissions, ...(rateLimit && { rateLimit }) });
  const actor = await add(LIMIT);
  const keys = service.client(ApiKeyService, apiKey(actor.text));
  const limits = [
    [undefined, false],
    [{ requests: 101, windowSeconds: 60 }, false],
    [{ requests: 100, windowSeconds: 60 }, true],
    [{ requests: 1, windowSeconds: 1 }, true],
    [{ requests: 2, windowSeconds: 1 }, false],
    [{ requests: 100, windowSeconds: 3600 }, true],
    // As many an hour, and all of them at once.
    [{ requests: 6000, windowSeconds: 3600 }, false],
  ] as const;
  for (const [rateLimit, isAllowed] of limits) {
    const asked = { name: uuidv4(), permissions: ["calls.read"] };
    const limit = rateLimit
      ? ({ case: "rateLimit", value: rateLimit } as const)
      : ({ case: "unlimited", value: true } as const);
    const tight = await add({ requests: 1, windowSeconds: 60 });
    const same = await add(rateLimit);
    const reasons = [
      await reasonOf(keys.createApiKey({ ...asked, ...(rateLimit && { rateLimit }) })),
      await reasonOf(keys.updateApiKey({ id: tight.id, limit })),
      await reasonOf(keys.rotateApiKey({ id: same.id, overlap: {} })),
      await reasonOf(keys.updateApiKey({ id: actor.id, limit })),
    ];
    const outcome = isAllowed ? undefined : "PERMISSION_NOT_HELD";
    assert.deepEqual(reasons, Array(4).fill(outcome), JSON.stringify(rateLimit));
    await run(
      "update api_keys set rate_limit_requests = 100, rate_limit_window_seconds = 60 where id = $1",
      actor.id,
    );
    await run("delete from key_rate_windows");
  }
});

test("whoever holds all that there is by name only takes over no key whose patterns reach what is to come", async () => {
  const { core } = service;
  const organizationId = await addOrganization(core);
  const password = await makePassword(core);
  const names = (
    await run<{ name: string }>("select name from permissions where scope = 'organization'")
  ).map(({ name }) => name);
  await addRole(core, { organizationId, name: "named", permissions: names });
  const owner = await addUser(core, { organizationId, role: "owner", password });
  const named = await addUser(core, { organizationId, role: "named", password });
  const ofOwner = { organizationId, owner: { userId: owner.id } };
  const person = bearer(await service.logIn(named.email, password.text));
  const internal = internalKey((await addServiceKey(core, { permissions: names })).text, organizationId);
  for (const as of [person, internal]) {
    const keys = service.client(ApiKeyService, as);
    for (const pattern of ["*", "calls.*", "*.read"]) {
      const { id } = await addApiKey(core, { ...ofOwner, permissions: [pattern] });
      await refusedWith("PERMISSION_NOT_HELD", keys.rotateApiKey({ id, overlap: {} }));
      const weak = await addApiKey(core, { ...ofOwner, permissions: ["calls.read"] });
      await refusedWith(
        "PERMISSION_NOT_HELD",
        keys.updateApiKey({ id: weak.id, permissions: { values: [pattern] } }),
      );
      // One of their own is bounded by them, whatever it is called.
      const own = await keys.createApiKey({ name: "own", permissions: [pattern] });
      await keys.rotateApiKey({ id: own.apiKey?.id ?? "", overlap: {} });
    }
    const plain = await addApiKey(core, { ...ofOwner, permissions: names });
    await keys.rotateApiKey({ id: plain.id, overlap: {} });
  }
});
