import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { hash as argon2Hash } from "@node-rs/argon2";
import { query } from "../support/cluster.ts";
import { ApiKeyService, AuthenticationService, startService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";
import {
  hmac,
  ImportMode,
  importKey,
  importKeys,
  KeyHashAlgorithm,
  keyOf,
  oldKey,
  present,
  refusalOf,
  sha256,
  untilRehashed,
} from "./import.ts";

// What an imported key leaves behind: in the database, in its records and in the log.

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

function formsOf(bytes: Buffer): string[] {
  return [
    bytes.toString("latin1"),
    bytes.toString("hex"),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
  ];
}

/** Every row of every table, with bytes as hexadecimal digits. */
async function everythingStored(): Promise<string> {
  const tables = await query<{ name: string }>(
    service.connection,
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_schema not in ('pg_catalog', 'information_schema')`,
  );
  const rows = await Promise.all(
    tables.map(({ name }) =>
      query<{ text: string }>(service.connection, `select t::text as text from ${name} t`),
    ),
  );
  return rows
    .flat()
    .map(({ text }) => text)
    .join("\n");
}

const isIn = (haystack: string, bytes: Buffer) => formsOf(bytes).some((form) => haystack.includes(form));

test("neither a text nor an unsalted hash nor the secret of an HMAC can be read anywhere", async () => {
  const hmacSecret = randomBytes(32);
  const [plain, keyed, salted] = [oldKey(), oldKey(), oldKey()];
  const saltedHash = Buffer.from(await argon2Hash(salted, { memoryCost: 1024, timeCost: 1 }));
  const ids = [
    await importKey(service, keyOf(plain)),
    await importKey(service, keyOf(keyed, { hash: hmac(hmacSecret, keyed) }), {
      hashing: { algorithm: KeyHashAlgorithm.HMAC_SHA256, hmacSecret },
    }),
    await importKey(service, keyOf(salted, { hash: saltedHash, lookupPrefix: salted.slice(0, 12) }), {
      hashing: { algorithm: KeyHashAlgorithm.ARGON2 },
    }),
  ];
  const nowhere = {
    plain: Buffer.from(plain.slice(16)),
    keyed: Buffer.from(keyed.slice(16)),
    salted: Buffer.from(salted.slice(16)),
    "the digest": sha256(plain),
    "the HMAC": hmac(hmacSecret, keyed),
    "the secret of the HMAC": hmacSecret,
  };
  const before = await everythingStored();
  for (const [what, bytes] of Object.entries(nowhere)) {
    assert.ok(!isIn(before, bytes), `${what} is stored`);
  }
  // What is looked for would be found, and a salted hash has to be kept, for as long as it is needed.
  assert.ok(before.includes(saltedHash.toString()) && before.includes(salted.slice(0, 12)));

  const client = service.client(AuthenticationService);
  for (const [at, text] of [plain, keyed, salted].entries()) {
    await present(service, text);
    await untilRehashed(service, ids[at] ?? "");
    await present(service, text);
    await refusalOf(service, `${text.slice(0, -1)}.`);
    await client
      .authenticate({ headers: [{ name: "X-API-Key", value: text }], requiredPermissions: ["calls.write"] })
      .catch(() => {});
  }
  const afterwards = await everythingStored();
  const gone = { ...nowhere, "the salted hash": saltedHash, "its start": Buffer.from(salted.slice(0, 12)) };
  for (const [what, bytes] of Object.entries(gone)) {
    assert.ok(!isIn(afterwards, bytes), `${what} is stored`);
    assert.ok(!isIn(service.logged.join(""), bytes), `${what} is logged`);
  }
});

test("what is wrong with a key is told without its hash, its text and its metadata", async () => {
  const text = oldKey();
  const hash = sha256(text).toString("hex");
  const marks = { entries: { note: "a-mark-of-its-own" } };
  const bad = [
    keyOf(text, { name: "", metadata: marks }),
    keyOf(text, { hash: Buffer.from(hash), metadata: marks }),
    keyOf(text, { permissions: ["calls.unknown"], metadata: marks }),
  ];
  const best = { mode: ImportMode.BEST_EFFORT };
  const answers = [await importKeys(service, bad, best)];
  const salted = { ...best, hashing: { algorithm: KeyHashAlgorithm.BCRYPT } };
  answers.push(
    await importKeys(service, [keyOf(text, { hash: Buffer.from(hash), lookupPrefix: text })], salted),
  );
  const told = JSON.stringify(answers.map(({ results }) => results));
  for (const secret of [text, hash, text.slice(4, 12), "a-mark-of-its-own"]) {
    assert.ok(!told.includes(secret) && !service.logged.join("").includes(secret), secret);
  }
});

test("where the database refuses to move a key into its slot, it goes on with its hash, and moves later", async () => {
  const text = oldKey();
  const id = await importKey(service, keyOf(text));
  await query(
    service.connection,
    `create function refuse_slot() returns trigger language plpgsql as $$
     begin raise exception 'no slot for %', new; end $$`,
  );
  await query(
    service.connection,
    "create trigger refuse before insert on api_key_slots for each row execute function refuse_slot()",
  );
  const warnings = () => service.logged.filter((line) => line.includes("keeps its foreign hash"));
  assert.equal((await present(service, text)).principal?.id, id);
  await until("it is said so", () => warnings().length > 0);
  for (let again = 0; again < 3; again++) {
    assert.equal((await present(service, text)).principal?.id, id);
  }
  assert.ok(!warnings().join("").includes(text.slice(8)));
  const client = service.client(ApiKeyService, { "x-internal-key": service.internalKey });
  assert.deepEqual((await client.getApiKey({ id })).apiKey?.slots, []);
  await query(service.connection, "drop trigger refuse on api_key_slots");
  assert.equal(await refusalOf(service, text), undefined);
  await untilRehashed(service, id);
  assert.equal((await present(service, text)).principal?.id, id);
});

test("what the last uses have left to do is done when the service ends", async () => {
  const replica = await startService({ beside: service });
  const texts = Array.from({ length: 20 }, oldKey);
  const { results } = await importKeys(
    service,
    texts.map((text) => keyOf(text)),
  );
  await Promise.all(texts.map((text) => present(replica, text)));
  await replica.stop();
  const [row] = await query<{ count: number }>(
    service.connection,
    "select count(*)::int as count from imported_key_hashes where api_key_id = any($1) and rehash_time is not null",
    [results.map(({ id }) => id)],
  );
  assert.equal(row?.count, texts.length);
});
