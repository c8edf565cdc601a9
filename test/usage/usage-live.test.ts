import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import type { Reason } from "../../src/errors.ts";
import { readDailyUsage, readLastUses } from "../../src/usage/read-usage.ts";
import {
  type AddedKey,
  addApiKey,
  addOrganization,
  addRotation,
  addServiceKey,
  addUser,
  makePassword,
} from "../access/cast.ts";
import { lockTable } from "../cli/lock-table.ts";
import { query, urlOf } from "../support/cluster.ts";
import { cleanup, clientOf, freePort, latchkey } from "../support/process.ts";
import { reasonOf } from "../support/refusal.ts";
import { ApiKeyService, AuthenticationService, startService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { keyText, partsOf } from "../wire/key-text.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

async function newKey(allowedCidrs: readonly string[] = []): Promise<AddedKey> {
  const { core, organizationId, admin } = service;
  const owner = { userId: admin.id };
  return await addApiKey(core, { organizationId, owner, allowedCidrs, permissions: ["calls.*"] });
}

interface Asked {
  readonly clientAddress?: string;
  readonly requiredPermissions?: string[];
  readonly organizationId?: string;
}

async function ask(of: TestService, name: string, value: string, asked: Asked = {}) {
  return await reasonOf(
    of.client(AuthenticationService).authenticate({ headers: [{ name, value }], ...asked }),
  );
}

/** What is on record of today, once a replica that made some calls has ended. */
async function usageAfter(keyId: string, calls: (replica: TestService) => Promise<unknown>) {
  const replica = await startService({ beside: service });
  try {
    await calls(replica);
  } finally {
    await replica.stop();
  }
  return await usageOf(keyId);
}

async function usageOf(keyId: string) {
  const days = await readDailyUsage(service.core.storage.fork(), keyId, 2);
  const sum = (of: "allowed" | "refused") => days.reduce((total, day) => total + Number(day[of]), 0);
  return { allowed: sum("allowed"), refused: sum("refused"), days };
}

const lastUseOf = async (text: string) => {
  const { lookupId } = partsOf(text);
  return (await readLastUses(service.core.storage.fork(), [lookupId])).get(lookupId);
};

test("every call that is allowed counts, whichever method it is and whoever asks", async () => {
  const key = await newKey();
  const { allowed, refused } = await usageAfter(key.id, async (replica) => {
    assert.equal(await ask(replica, "X-API-Key", key.text), undefined);
    assert.equal(await ask(replica, "Authorization", `Bearer ${key.text}`), undefined);
    await replica.client(AuthenticationService, { "x-api-key": key.text }).whoAmI({});
    // The caller is who they are, whatever they may do.
    const keys = replica.client(ApiKeyService, { "x-api-key": key.text });
    assert.equal(await reasonOf(keys.listApiKeys({})), "PERMISSION_DENIED");
  });
  assert.deepEqual({ allowed, refused }, { allowed: 4, refused: 0 });
});

test("internal keys are counted too", async () => {
  const key = await addServiceKey(service.core, { permissions: ["*"] });
  const { allowed, refused } = await usageAfter(key.id, async (replica) => {
    assert.equal(await ask(replica, "X-Internal-Key", key.text), undefined);
    await replica.client(AuthenticationService, { "x-internal-key": key.text }).whoAmI({});
    const asked = { requiredPermissions: ["calls.read"], organizationId: service.admin.id };
    assert.equal(await ask(replica, "X-Internal-Key", key.text, asked), "ORGANIZATION_UNKNOWN");
  });
  assert.deepEqual({ allowed, refused }, { allowed: 2, refused: 1 });
});

const onKey = (sql: string) => async (key: AddedKey) => {
  await query(service.connection, sql, [key.id]);
};

/** Ways for a key to be refused whose secret is right. */
const REFUSALS: readonly { reason: Reason; before?: (key: AddedKey) => Promise<void>; asked?: Asked }[] = [
  { reason: "PERMISSION_DENIED", asked: { requiredPermissions: ["auth.users.write"] } },
  { reason: "PERMISSION_UNKNOWN", asked: { requiredPermissions: ["calls.raed"] } },
  { reason: "CLIENT_ADDRESS_DENIED", asked: { clientAddress: "198.51.100.1" } },
  { reason: "CLIENT_ADDRESS_REQUIRED", asked: { clientAddress: "" } },
  {
    reason: "API_KEY_EXPIRED",
    before: onKey("update api_keys set expire_time = now() - interval '1 second' where id = $1"),
  },
  { reason: "API_KEY_REVOKED", before: onKey("update api_keys set revoke_time = now() where id = $1") },
  {
    reason: "API_KEY_ROTATED",
    before: onKey("update api_key_slots set expire_time = now() where api_key_id = $1"),
  },
  {
    reason: "RATE_LIMITED",
    before: onKey(
      `with used as (
         insert into key_rate_windows
         select $1, day, day + interval '1 day', 1 from (select date_trunc('day', now(), 'UTC') as day) as today)
       update api_keys set rate_limit_requests = 1, rate_limit_window_seconds = 86400 where id = $1`,
    ),
  },
];
for (const { reason, before: prepare, asked } of REFUSALS) {
  test(`a right secret that is refused with ${reason} counts as refused, and as a use`, async () => {
    const key = await newKey(["192.0.2.0/24"]);
    await prepare?.(key);
    const clientAddress = asked?.clientAddress ?? "192.0.2.9";
    const { allowed, refused } = await usageAfter(key.id, async (replica) => {
      assert.equal(await ask(replica, "X-API-Key", key.text, { clientAddress, ...asked }), reason);
    });
    assert.deepEqual({ allowed, refused }, { allowed: 0, refused: 1 });
    assert.equal((await lastUseOf(key.text))?.address, clientAddress);
  });
}

test("keys of a suspended organization, and of a person who is disabled, count as refused", async () => {
  const { core } = service;
  const organizationId = await addOrganization(core);
  const password = await makePassword(core);
  const [one, other] = await Promise.all(
    [1, 2].map(async () => {
      const user = await addUser(core, { organizationId, role: "owner", password });
      const asked = { organizationId, owner: { userId: user.id }, permissions: ["calls.read"] };
      return { user, key: await addApiKey(core, asked) };
    }),
  );
  assert.ok(one && other);
  await query(service.connection, "update memberships set disable_time = now() where user_id = $1", [
    one.user.id,
  ]);
  const disabled = await usageAfter(one.key.id, async (replica) => {
    assert.equal(await ask(replica, "X-API-Key", one.key.text), "API_KEY_CREATOR_INACTIVE");
  });
  await query(service.connection, "update organizations set suspend_time = now() where id = $1", [
    organizationId,
  ]);
  const suspended = await usageAfter(other.key.id, async (replica) => {
    assert.equal(await ask(replica, "X-API-Key", other.key.text), "ORGANIZATION_SUSPENDED");
  });
  assert.deepEqual([disabled.refused, suspended.refused], [1, 1]);
});

test("whoever does not hold the secret does not count: they cannot make a key look used", async () => {
  const key = await newKey();
  const wrong = keyText({ ...partsOf(key.text), secret: partsOf((await newKey()).text).secret });
  const { days } = await usageAfter(key.id, async (replica) => {
    assert.equal(await ask(replica, "X-API-Key", wrong), "API_KEY_INVALID");
    assert.equal(await ask(replica, "X-API-Key", `${key.text}x`), "API_KEY_INVALID");
  });
  assert.deepEqual(days, []);
  assert.equal(await lastUseOf(key.text), undefined);
});

test("to explain a decision is no use of the key that it is about", async () => {
  const key = await newKey();
  const { days } = await usageAfter(key.id, async (replica) => {
    const headers = [{ name: "X-API-Key", value: key.text }];
    const admin = replica.client(AuthenticationService, { authorization: `Bearer ${await replica.logIn()}` });
    assert.ok((await admin.explain({ request: { headers } })).allowed);
  });
  assert.deepEqual(days, []);
});

test("what is no decision counts as neither", async () => {
  const key = await newKey();
  let isBroken = false;
  const replica = await startService({
    beside: service,
    // So that it is asked for again.
    memoryBytes: 0,
    wrapCore: (core) => ({
      ...core,
      storage: {
        ...core.storage,
        async verify(name, sql, values) {
          const answer = await core.storage.verify<never>(name, sql, values);
          // The secret was found right by then; what follows fails.
          return isBroken && answer ? new Proxy<never>(answer, { get: failOnRights }) : answer;
        },
      },
    }),
  });
  try {
    assert.equal(await ask(replica, "X-API-Key", key.text), undefined);
    isBroken = true;
    assert.equal(await ask(replica, "X-API-Key", key.text), "UNAVAILABLE");
  } finally {
    await replica.stop();
  }
  const { allowed, refused } = await usageOf(key.id);
  assert.deepEqual({ allowed, refused }, { allowed: 1, refused: 0 });
});

function failOnRights(answer: object, name: string | symbol): unknown {
  if (name === "permissions") {
    throw new Error("the rights cannot be read");
  }
  const value: unknown = Reflect.get(answer, name);
  return name === "row" ? new Proxy(value as object, { get: failOnRights }) : value;
}

test("in a rotation, the uses of each secret are told apart, and those of the key are their sum", async () => {
  const { core, organizationId } = service;
  const key = await newKey();
  const secondText = await addRotation(core, "api_key", key.id, organizationId);
  const { days } = await usageAfter(key.id, async (replica) => {
    await ask(replica, "X-API-Key", key.text, { clientAddress: "192.0.2.1" });
    for (let turn = 0; turn < 3; turn++) {
      await ask(replica, "X-API-Key", secondText, { clientAddress: "192.0.2.2" });
    }
    await ask(replica, "X-API-Key", secondText, { requiredPermissions: ["auth.users.write"] });
  });
  const prefixOf = (text: string) => `ak_${partsOf(text).lookupId}`;
  const slots = new Map(days.flatMap((day) => day.slots).map((slot) => [slot.displayPrefix, slot]));
  assert.deepEqual(slots.get(prefixOf(key.text)), {
    displayPrefix: prefixOf(key.text),
    allowed: 1n,
    refused: 0n,
  });
  assert.deepEqual(slots.get(prefixOf(secondText)), {
    displayPrefix: prefixOf(secondText),
    allowed: 3n,
    refused: 1n,
  });
  assert.deepEqual(
    days.map(({ allowed, refused }) => [allowed, refused]),
    [[4n, 1n]],
  );
  assert.equal((await lastUseOf(key.text))?.address, "192.0.2.1");
  // The last one did not tell.
  assert.equal((await lastUseOf(secondText))?.address, "");
});

test("two replicas under load count together exactly the calls that were made", async () => {
  const keys = await Promise.all(Array.from({ length: 4 }, () => newKey()));
  const replicas = await Promise.all([1, 2].map(() => startService({ beside: service })));
  const each = 25;
  await Promise.all(
    replicas.flatMap((replica) =>
      keys.map(async ({ text }) => {
        for (let turn = 0; turn < each; turn++) {
          const asked = turn % 5 === 0 ? { requiredPermissions: ["auth.users.write"] } : {};
          await ask(replica, "X-API-Key", text, asked);
        }
      }),
    ),
  );
  await Promise.all(replicas.map((replica) => replica.stop()));
  for (const { id } of keys) {
    const { allowed, refused } = await usageOf(id);
    assert.deepEqual({ allowed, refused }, { allowed: 2 * each * 0.8, refused: 2 * each * 0.2 });
  }
});

test("no call waits for what is written about it", async (t) => {
  const key = await newKey();
  await query(
    service.connection,
    "update api_keys set rate_limit_requests = 1000, rate_limit_window_seconds = 86400 where id = $1",
    [key.id],
  );
  const replica = await startService({ beside: service });
  const locks = [
    await lockTable(t, service.connection, "key_usage"),
    await lockTable(t, service.connection, "key_rate_windows"),
  ];
  for (let turn = 0; turn < 20; turn++) {
    assert.equal(await ask(replica, "X-API-Key", key.text), undefined);
  }
  await Promise.all(locks.map((lock) => lock.release()));
  await replica.stop();
  assert.equal((await usageOf(key.id)).allowed, 20);
});

test("a process that is told to end writes down the last uses", async (t) => {
  const port = await freePort();
  const process = latchkey(cleanup(t), ["serve"], {
    env: {
      DATABASE_URL: urlOf(service.connection),
      LATCHKEY_ENCRYPTION_KEY: service.encryptionKey.toString("base64"),
      LATCHKEY_PUBLIC_URL: "https://latchkey.test",
      LATCHKEY_HOST: "127.0.0.1",
      LATCHKEY_PORT: String(port),
      LATCHKEY_CALLERS: "any",
      LATCHKEY_NOTICE_SECONDS: "1",
      LATCHKEY_LOG_LEVEL: "info",
    },
  });
  await process.said(/"msg":"listening"/);
  const key = await newKey();
  const authenticate = async () =>
    await reasonOf(
      clientOf(AuthenticationService, `http://127.0.0.1:${port}`).authenticate({
        headers: [{ name: "X-API-Key", value: key.text }],
      }),
    );
  let answered = 0;
  const call = async () => {
    if ((await authenticate()) === undefined) answered++;
  };
  await Promise.all(Array.from({ length: 20 }, call));
  process.kill("SIGTERM");
  // Until it turns away, its answers count too.
  await until("it has ended", async () => {
    await call();
    return !process.isAlive;
  });
  assert.deepEqual(await process.ended(), { code: 0, signal: null });
  assert.ok(answered >= 20);
  assert.equal((await usageOf(key.id)).allowed, answered);
});

test("a process whose database is away at its end says that uses are lost, and ends", async (t) => {
  const replica = await startService({
    beside: service,
    wrapCore: (core) => ({
      ...core,
      storage: {
        ...core.storage,
        inBackground: () => Promise.reject(new Error(randomBytes(4).toString("hex"))),
      },
    }),
  });
  const key = await newKey();
  assert.equal(await ask(replica, "X-API-Key", key.text), undefined);
  await replica.stop();
  assert.ok(replica.logged.some((line) => line.includes("the last uses of keys are lost")));
  t.diagnostic(`${replica.logged.length} lines`);
});
