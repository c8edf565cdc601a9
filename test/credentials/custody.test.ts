import assert from "node:assert/strict";
import { createDecipheriv, createHash, createPrivateKey, hkdfSync } from "node:crypto";
import { after, before, test } from "node:test";
import { createSeal } from "../../src/storage/seal.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { AuthenticationService } from "../support/service.ts";
import { liveThroughTrouble, type Secret, type TroubledLife } from "./troubled-life.ts";

// After a life in which everything went wrong once, no secret is to be found: neither in the database nor in
// the log nor in an answer, but the one that made it.

let life: TroubledLife;
before(async () => {
  life = await liveThroughTrouble();
});
after(async () => {
  await life.broken.stop();
  await life.service.stop();
});

/** The ways in which bytes may be written down. */
function formsOf(bytes: Buffer): string[] {
  return [
    bytes.toString("latin1"),
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
    encodeURIComponent(bytes.toString("latin1")),
    JSON.stringify(bytes.toString("latin1")).slice(1, -1),
  ];
}

/** Every row of every table, with bytes as hexadecimal digits; and what the server remembers of statements. */
async function everythingStored(): Promise<string> {
  const { connection } = life.service;
  const tables = await query<{ name: string }>(
    connection,
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_schema not in ('pg_catalog', 'information_schema')`,
  );
  assert.ok(tables.length > 10);
  const texts: string[] = [];
  for (const { name } of tables) {
    const rows = await query<{ text: string }>(connection, `select t::text as text from ${name} t`);
    texts.push(...rows.map(({ text }) => text));
  }
  const running = await query<{ query: string }>(connection, "select query from pg_stat_activity");
  return [...texts, ...running.map((row) => row.query)].join("\n");
}

/** Which of the secrets are in a text, in any form. */
function findIn(haystack: string, among: readonly Secret[]): string[] {
  return among
    .filter(({ bytes }) => formsOf(bytes).some((form) => haystack.includes(form)))
    .map(({ name }) => name);
}

/** As createSeal() makes it. */
function sealingKeyOf(encryptionKey: Buffer): Buffer {
  const key = Buffer.from(hkdfSync("sha256", encryptionKey, "", "latchkey seal", 32));
  const sealed = createSeal(encryptionKey).close(Buffer.from("known"), "p").subarray(9);
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, 12))
    .setAAD(Buffer.from("p"))
    .setAuthTag(sealed.subarray(-16));
  assert.equal(
    Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]).toString(),
    "known",
  );
  return key;
}

async function keyMaterial(): Promise<Secret[]> {
  const { core, connection, encryptionKey } = life.service;
  const material: Secret[] = [
    { name: "the encryption key", bytes: encryptionKey },
    { name: "the key that seals", bytes: sealingKeyOf(encryptionKey) },
    { name: "the key of page tokens", bytes: core.keyHasher.deriveKey("page tokens") },
  ];
  for (const { id, sealed_secret } of await query<{ id: string; sealed_secret: Buffer }>(
    connection,
    "select * from peppers",
  )) {
    material.push({ name: "a pepper", bytes: core.seal.open(sealed_secret, `peppers/${id}`) });
  }
  const signingKeys = await query<{ kid: string; sealed_private_key: Buffer }>(
    connection,
    "select * from signing_keys",
  );
  for (const { kid, sealed_private_key } of signingKeys) {
    const pkcs8 = core.seal.open(sealed_private_key, `signing_keys/${kid}`);
    const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
    const pem = key.export({ format: "pem", type: "pkcs8" }).toString();
    const { d = "" } = key.export({ format: "jwk" });
    material.push({ name: "a private key as PKCS #8", bytes: pkcs8 });
    material.push({ name: "a private key as PEM", bytes: Buffer.from(pem.split("\n")[1] ?? "") });
    material.push({ name: "a private key's number", bytes: Buffer.from(d, "base64url") });
  }
  assert.ok(material.length >= 7);
  return material;
}

test("no secret is in the database: no key, no password, no token, no pepper, no private key", async () => {
  const stored = await everythingStored();
  const all = [...life.secrets, ...(await keyMaterial())];
  assert.deepEqual(findIn(stored, all), []);
});

test("no hash of a secret is in the database that a guess could be tested against without the pepper", async () => {
  const stored = await everythingStored();
  const hashes = life.secrets.flatMap(({ name, bytes }) =>
    ["md5", "sha1", "sha256", "sha512"].map((algorithm) => ({
      name: `${algorithm} of ${name}`,
      bytes: createHash(algorithm).update(bytes).digest(),
    })),
  );
  assert.deepEqual(findIn(stored, hashes), []);
});

test("no secret is in the log, whatever went wrong", async () => {
  const { service, broken, secrets } = life;
  for (const { logged } of [service, broken]) {
    assert.deepEqual(findIn(logged.join(""), [...secrets, ...(await keyMaterial())]), []);
  }
  assert.ok(
    broken.logged.some((line) => line.includes("is no hash")),
    "but the log says what went wrong",
  );
  assert.ok(service.logged.some((line) => line.includes("gone") || line.includes("broken")));
});

test("no answer repeats a secret, but the one that made it", async () => {
  const { answers, secrets } = life;
  const all = [...secrets, ...(await keyMaterial())];
  assert.ok(answers.length > 100);
  const told = answers.flatMap((answer) =>
    findIn(answer, all).map((name) => `${name}: ${answer.slice(0, 300)}`),
  );
  assert.deepEqual(told, []);
});

test("what is looked for would be found", async () => {
  const { service } = life;
  const { core, apiKey, admin } = service;
  const stored = await everythingStored();
  const present = [
    { name: "a digest", bytes: core.keyHasher.hash(apiKey).digest },
    { name: "what is shown of a key", bytes: Buffer.from(apiKey.slice(0, -50)) },
    { name: "an email", bytes: Buffer.from(admin.email) },
  ];
  assert.deepEqual(
    findIn(stored, present),
    present.map(({ name }) => name),
  );
  // And the keys that lived through all this are good still.
  await service
    .client(AuthenticationService)
    .authenticate({ headers: [{ name: "X-API-Key", value: apiKey }] });
  await refusedWith("LOGIN_FAILED", service.logIn(admin.email, "wrong"));
});
