import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { ImportMode, KeyAlphabet, KeyHashAlgorithm } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import {
  type AddedKey,
  addApiKey,
  addOrganization,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { ApiKeyService, AuthenticationService, startService, type TestService } from "../support/service.ts";
import { keyText, partsOf } from "../wire/key-text.ts";
import { holdRows } from "./row-lock.ts";

let service: TestService;
/** Another replica, whose next call a revocation has to reach. */
let other: TestService;
let password: Password;
before(async () => {
  service = await startService();
  other = await startService({ beside: service });
  password = await makePassword(service.core);
});
after(async () => {
  await other.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

/** Nobody: the call itself carries no credential. */
const revoke = (text: string, reason = "leaked", on = service) =>
  on.client(ApiKeyService).revokeOwnApiKey({ apiKey: text, reason });

const refusal = (text: string) =>
  reasonOf(
    other.client(AuthenticationService).authenticate({ headers: [{ name: "X-API-Key", value: text }] }),
  );

const eventsOf = (id: string) =>
  run<{ action: string; actor_type: string; actor_id: string; detail: unknown }>(
    "select action, actor_type, actor_id, detail from audit_events where target_id = $1",
    id,
  );

const rowOf = async (id: string) => {
  const [row] = await run<{ revoke_time: Date | null; revoke_reason: string | null }>(
    "select revoke_time, revoke_reason from api_keys where id = $1",
    id,
  );
  assert.ok(row);
  return row;
};

type Asked = Parameters<typeof addApiKey>[1];

async function add(more: Partial<Asked> = {}): Promise<AddedKey> {
  const { core, organizationId, admin } = service;
  return await addApiKey(core, {
    organizationId,
    owner: { userId: admin.id },
    permissions: ["calls.read"],
    ...more,
  });
}

test("whoever holds a key revokes it, from the moment that the call answers, and the record says that the key did", async () => {
  const { id, text } = await add();
  assert.equal(await refusal(text), undefined);
  await revoke(text, "found in a log");
  assert.equal(await refusal(text), "API_KEY_REVOKED");
  assert.equal((await rowOf(id)).revoke_reason, "found in a log");
  assert.deepEqual(await eventsOf(id), [
    {
      action: "api_key.revoke",
      actor_type: "api_key",
      actor_id: id,
      detail: {
        before: { revoked: false },
        after: { revoked: true },
        reason: "found in a log",
        offspring: [],
      },
    },
  ]);
});

test("both secrets of a rotation are proof, and neither works after", async () => {
  for (const turn of [0, 1]) {
    const { id, text } = await add();
    const admin = service.client(ApiKeyService, { authorization: `Bearer ${await service.logIn()}` });
    const { secret } = await admin.rotateApiKey({ id, overlap: { seconds: 60n } });
    await revoke([text, secret][turn] ?? "");
    assert.deepEqual([await refusal(text), await refusal(secret)], ["API_KEY_REVOKED", "API_KEY_REVOKED"]);
  }
});

test("a secret that a rotation has ended proves nothing", async () => {
  const { id, text } = await add();
  const admin = service.client(ApiKeyService, { authorization: `Bearer ${await service.logIn()}` });
  const { secret } = await admin.rotateApiKey({ id, overlap: {} });
  await refusedWith("API_KEY_ROTATED", revoke(text));
  assert.equal(await refusal(secret), undefined);
  assert.equal((await rowOf(id)).revoke_time, null);
});

test("a key can be revoked that is of no use: expired, bound elsewhere, without an active owner, of a suspended organization", async () => {
  const { core } = service;
  const organizationId = await addOrganization(core);
  const { id: userId } = await addUser(core, { organizationId, role: "owner", password });
  const owned: Partial<Asked> = { organizationId, owner: { userId } };
  const useless = [
    await add({ expireTime: new Date(Date.now() - 1000) }),
    await add({ allowedCidrs: ["203.0.113.0/24"] }),
    await add({ permissions: [] }),
    await add(owned),
  ];
  await run("update memberships set disable_time = now() where user_id = $1", userId);
  await run("update organizations set suspend_time = now() where id = $1", organizationId);
  for (const { id, text } of useless) {
    await revoke(text);
    assert.notEqual((await rowOf(id)).revoke_time, null);
    assert.equal(await refusal(text), "API_KEY_REVOKED");
  }
});

test("a key with a prefix that is accepted no longer can be revoked still", async () => {
  const { id, text } = await add();
  const renamed = await startService({ beside: service, apiKeyPrefix: "nk" });
  try {
    await revoke(text, "", renamed);
    assert.notEqual((await rowOf(id)).revoke_time, null);
  } finally {
    await renamed.stop();
  }
});

test("a key that is revoked already stays as it is, and that is no error and no second record", async () => {
  const { id, text } = await add();
  await revoke(text, "first");
  const before = [await rowOf(id), await eventsOf(id)];
  await revoke(text, "second");
  assert.deepEqual([await rowOf(id), await eventsOf(id)], before);
});

test("of many who revoke a key at once, each is answered, and it is revoked once", async () => {
  const { id, text } = await add();
  await using held = await holdRows(service.connection, "select from api_keys where id = $1 for update", [
    id,
  ]);
  const calls = Array.from({ length: 8 }, (_, turn) =>
    reasonOf(revoke(text, `${turn}`, turn % 2 === 0 ? service : other)),
  );
  await held.waiting(8);
  await held.release();
  assert.deepEqual(await Promise.all(calls), Array(8).fill(undefined));
  assert.equal((await eventsOf(id)).length, 1);
});

test("it takes with it every key that was made with it, and no other", async () => {
  const permissions = ["auth.api_keys.write", "calls.read"];
  const parent = await add({ permissions });
  const sibling = await add();
  const make = async (text: string) =>
    (await service.client(ApiKeyService, { "x-api-key": text }).createApiKey({ name: uuidv4(), permissions }))
      .secret;
  const child = await make(parent.text);
  const grandchild = await make(child);
  await revoke(parent.text, "why ? ?? $1 :x");
  for (const text of [parent.text, child, grandchild]) {
    assert.equal(await refusal(text), "API_KEY_REVOKED");
  }
  assert.equal(await refusal(sibling.text), undefined);
});

test("what is no key of this deployment proves nothing: cut, changed, made up, of another kind", async () => {
  const { id, text } = await add();
  const { text: unknown } = mintKey("ak");
  const wrong = [
    ...Array.from({ length: text.length - 1 }, (_, length) => text.slice(0, length + 1)),
    `${text}0`,
    ` ${text}`,
    `${text}\n`,
    text.toUpperCase(),
    text.replace(/^ak/, "nk"),
    text.replace(/^ak_/, "ak_test_"),
    unknown,
    // The beginning of one, and the end of another whose own checksum fits.
    `${text.slice(0, text.lastIndexOf("_"))}${unknown.slice(unknown.lastIndexOf("_"))}`,
    // The same key by its public part, with another secret and a checksum that fits.
    keyText({ ...partsOf(text), secret: partsOf(unknown).secret }),
    service.internalKey,
    await service.logIn(),
    "x".repeat(4096),
    "\u{1f511}".repeat(100),
    "_",
    "' or true --",
  ];
  for (const each of wrong) {
    await refusedWith("API_KEY_INVALID", revoke(each));
  }
  await refusedWith("REQUEST_INVALID", revoke(""));
  await refusedWith("REQUEST_INVALID", revoke("x".repeat(4097)));
  await refusedWith("REQUEST_INVALID", revoke(text, "x".repeat(201)));
  assert.equal((await rowOf(id)).revoke_time, null);
  assert.equal(await refusal(text), undefined);
});

test("the refusal repeats nothing of what was sent, and neither does the log", async () => {
  const { text } = await add();
  const secret = text.slice(text.lastIndexOf("_") + 1);
  const error = await refusedWith("API_KEY_INVALID", revoke(`${text}0`));
  await revoke(text);
  assert.ok(!error.message.includes(secret));
  assert.ok(service.logged.every((line) => !line.includes(secret)));
});

test("a key of another system is revoked by its text too, before its first use and after a rotation", async () => {
  const admin = service.client(ApiKeyService, { authorization: `Bearer ${await service.logIn()}` });
  const texts = Array.from({ length: 3 }, () => `old_${uuidv4().replaceAll("-", "")}`);
  const { results } = await admin.importApiKeys({
    organizationId: service.organizationId,
    ownerId: service.admin.id,
    format: { prefix: "old_", length: 36, alphabet: KeyAlphabet.HEX },
    hashing: { algorithm: KeyHashAlgorithm.SHA256 },
    mode: ImportMode.ALL_OR_NOTHING,
    keys: texts.map((text) => ({
      name: "imported",
      permissions: ["calls.read"],
      hash: createHash("sha256").update(text).digest(),
    })),
  });
  const [fresh = "", overlapping = "", rotated = ""] = texts;
  const ids = results.map(({ id }) => id);
  await admin.rotateApiKey({ id: ids[1] ?? "", overlap: { seconds: 60n } });
  await admin.rotateApiKey({ id: ids[2] ?? "", overlap: {} });
  await revoke(fresh);
  await revoke(overlapping);
  await refusedWith("API_KEY_ROTATED", revoke(rotated));
  await refusedWith("API_KEY_INVALID", revoke(`old_${"0".repeat(32)}`));
  const revoked = await Promise.all(ids.map(async (id) => (await rowOf(id)).revoke_time !== null));
  assert.deepEqual(revoked, [true, true, false]);
});
