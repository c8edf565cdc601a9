import assert from "node:assert/strict";
import { before, test } from "node:test";
import { hash as argon2Hash } from "@node-rs/argon2";
import { createPasswordHasher, type PasswordHasher } from "../../src/users/password.ts";

let hasher: PasswordHasher;
before(async () => {
  hasher = await createPasswordHasher();
});

test("a password is kept as argon2id with 19 MiB, two passes and one lane", async () => {
  const stored = await hasher.hash("correct horse battery staple");
  const [, algorithm, version, parameters, salt = "", output = ""] = stored.split("$");
  assert.deepEqual([algorithm, version, parameters], ["argon2id", "v=19", "m=19456,t=2,p=1"]);
  assert.ok(Buffer.from(salt, "base64").length >= 16);
  assert.ok(Buffer.from(output, "base64").length >= 32);
  assert.ok(!stored.includes("horse"));
});

test("the same password never looks the same twice", async () => {
  const [one, other] = await Promise.all([hasher.hash("correct horse"), hasher.hash("correct horse")]);
  assert.notEqual(one, other);
});

test("a password is right exactly where it is the same text in its canonical form", async () => {
  const same: [string, string][] = [
    // Composed and decomposed, as keyboards of different systems send them.
    ["caf\u00e9 au lait, s'il te pla\u00eet", "cafe\u0301 au lait, s'il te plai\u0302t"],
    ["\u1e9b\u0323 long enough for it", "\u017f\u0323\u0307 long enough for it"],
    // Full width, and a ligature.
    ["\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44 of width", "password of width"],
    ["\ufb01fteen characters", "fifteen characters"],
    [
      "\u{1f511}\u{1f468}\u200d\u{1f469}\u200d\u{1f467} emoji, joined",
      "\u{1f511}\u{1f468}\u200d\u{1f469}\u200d\u{1f467} emoji, joined",
    ],
  ];
  for (const [one, other] of same) {
    assert.equal(await hasher.verify(other, await hasher.hash(one)), true, one);
    assert.equal(await hasher.verify(one, await hasher.hash(other)), true, other);
  }
  const stored = await hasher.hash("correct horse battery staple");
  for (const wrong of [
    "Correct horse battery staple",
    "correct horse battery staple ",
    " correct horse battery staple",
    "correct horse battery stapl",
    "correct horse battery staple\0",
    "",
    stored,
  ]) {
    assert.equal(await hasher.verify(wrong, stored), false, wrong);
  }
});

test("every byte counts, the 73rd and the last as the first: nothing is cut off", async () => {
  const long = "a".repeat(1024);
  const stored = await hasher.hash(long);
  for (const at of [0, 70, 71, 72, 73, 127, 128, 255, 256, 511, 512, 1023]) {
    const wrong = `${long.slice(0, at)}b${long.slice(at + 1)}`;
    assert.equal(await hasher.verify(wrong, stored), false, `byte ${at}`);
  }
  assert.equal(await hasher.verify(long.slice(1), stored), false);
  assert.equal(await hasher.verify(long, stored), true);
  const emoji = "\u{1f511}".repeat(256);
  assert.equal(await hasher.verify(`${"\u{1f511}".repeat(255)}\u{1f512}`, await hasher.hash(emoji)), false);
});

test("where there is nobody no password is right", async () => {
  for (const password of ["", "correct horse battery staple", "\0"]) {
    assert.equal(await hasher.verify(password, undefined), false);
  }
});

test("a hash with a weaker parameter is outdated, and still checked", async () => {
  const weaker = [
    { memoryCost: 4_096, timeCost: 2, parallelism: 1 },
    { memoryCost: 19_456, timeCost: 1, parallelism: 1 },
    { memoryCost: 19_456, timeCost: 2, parallelism: 1, algorithm: 1 },
  ];
  for (const parameters of weaker) {
    const stored = await argon2Hash("correct horse", parameters);
    assert.equal(hasher.isOutdated(stored), true, stored);
    assert.equal(await hasher.verify("correct horse", stored), true, stored);
    assert.equal(await hasher.verify("wrong horse", stored), false, stored);
  }
  assert.equal(hasher.isOutdated(await hasher.hash("correct horse")), false);
});

test("a hash with stronger parameters is not outdated: no login weakens it", async () => {
  for (const parameters of [
    { memoryCost: 65_536, timeCost: 3, parallelism: 4 },
    { memoryCost: 19_457, timeCost: 2, parallelism: 1 },
    { memoryCost: 19_456, timeCost: 10, parallelism: 1 },
  ]) {
    const stored = await argon2Hash("correct horse", parameters);
    assert.equal(hasher.isOutdated(stored), false, stored);
    assert.equal(await hasher.verify("correct horse", stored), true, stored);
  }
});

test("a stored text that is no hash is a fault, never a right password", async () => {
  for (const stored of ["", "correct horse", "$argon2id$", "$2b$10$abcdefghijklmnopqrstuv"]) {
    await assert.rejects(hasher.verify("correct horse", stored), stored);
  }
});
