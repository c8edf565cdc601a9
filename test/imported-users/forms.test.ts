import assert from "node:assert/strict";
import { before, test } from "node:test";
import { hash as argon2Hash } from "@node-rs/argon2";
import bcrypt from "bcryptjs";
import fc from "fast-check";
import { readImportedHash } from "../../src/users/imported-password/imported-password.ts";
import { createPasswordHasher, type PasswordHasher } from "../../src/users/password.ts";
import { VECTOR_PASSWORD, VECTORS } from "./vectors.ts";

let hasher: PasswordHasher;
before(async () => {
  hasher = await createPasswordHasher();
});

const readGood = (text: string) => readImportedHash(text) ?? assert.fail(`${text} was refused`);

for (const [what, hash] of VECTORS) {
  test(`${what}: right for its password and for no other, and to be replaced`, async () => {
    const stored = readGood(hash);
    assert.equal(await hasher.verify(VECTOR_PASSWORD, stored), true);
    for (const wrong of [
      `${VECTOR_PASSWORD} `,
      VECTOR_PASSWORD.slice(1),
      VECTOR_PASSWORD.toUpperCase(),
      "",
      hash,
    ]) {
      assert.equal(await hasher.verify(wrong, stored), false, wrong);
    }
    assert.equal(hasher.isOutdated(stored), true);
  });
}

test("a decoy is never right, not even for the password that it is the hash of", async () => {
  const own = await hasher.hash(VECTOR_PASSWORD);
  for (const decoy of [own, ...VECTORS.map(([, hash]) => readGood(hash))]) {
    assert.equal(await hasher.verify(VECTOR_PASSWORD, { decoy }), false);
    assert.equal(await hasher.verify(VECTOR_PASSWORD, async () => ({ decoy })), false);
  }
  assert.equal(await hasher.verify(VECTOR_PASSWORD, { decoy: undefined }), false);
});

test("what bcrypt does not look at is not taken for right: after 72 bytes, and after a NUL", async () => {
  const cost = 4;
  const long = "ab".repeat(36);
  const whole = readGood(bcrypt.hashSync(long, cost));
  assert.equal(await hasher.verify(long, whole), true);
  const longer = readGood(bcrypt.hashSync(`${long}cd`, cost));
  for (const stored of [whole, longer]) {
    for (const text of [`${long}cd`, `${long}ce`, `${long}c`, "€".repeat(25)]) {
      assert.equal(await hasher.verify(text, stored), false, text);
    }
  }
  // The same key to bcrypt, which repeats it with a NUL in between.
  const short = readGood(bcrypt.hashSync("ab", cost));
  assert.equal(bcrypt.compareSync("ab\0ab", short.replace("imported:", "")), true);
  assert.equal(await hasher.verify("ab\0ab", short), false);
});

test("a password is right as it was typed, and in its normal form", async () => {
  const [composed, decomposed] = ["caf\u00e9 au lait", "cafe\u0301 au lait"];
  const parameters = { memoryCost: 64, timeCost: 1 };
  const [byComposed, byDecomposed] = await Promise.all(
    [composed, decomposed].map(async (text) => readGood(await argon2Hash(text, parameters))),
  );
  assert.equal(await hasher.verify(composed, byComposed ?? ""), true);
  assert.equal(await hasher.verify(decomposed, byComposed ?? ""), true);
  assert.equal(await hasher.verify(decomposed, byDecomposed ?? ""), true);
  assert.equal(await hasher.verify(composed, byDecomposed ?? ""), false);
});

const SALT = "AAECAwQFBgcICQoLDA0ODw";
const HASH = "ppsXnjrdPB4KryJ6DrOqKqhkWrhv7PbKAMF1Eml8cZ4";
const BCRYPT = "Df.3C45qk7TBsLiVkWzd7.pYaSEQ7fsFD53b72OjxF.d/vr4X1DIy";

test("a hash that costs too much, or is of no known form, is refused before anybody logs in", () => {
  const good = [
    `$2b$13$${BCRYPT}`,
    `$argon2id$v=19$m=131072,t=2,p=8$${SALT}$${HASH}`,
    `argon2$argon2id$v=19$m=102400,t=2,p=8$${SALT}$${HASH}`,
    `$scrypt$ln=17,r=8,p=1$${SALT}$${HASH}`,
    `$pbkdf2-sha256$2000000$${SALT}$${HASH}`,
    `pbkdf2_sha256$1200000$salt$${HASH}=`,
  ];
  const bad = [
    "",
    "hunter2 hunter2 hunter2",
    "5f4dcc3b5aa765d61d8327deb882cf99",
    `imported:$2b$05$${BCRYPT}`,
    `$2b$14$${BCRYPT}`,
    `$2b$31$${BCRYPT}`,
    `$2b$03$${BCRYPT}`,
    `$2x$05$${BCRYPT}`,
    `$2b$05$${BCRYPT}A`,
    `$2b$05$${BCRYPT}\n`,
    `$2b$05$${BCRYPT.slice(1)}`,
    `$argon2id$v=19$m=131073,t=1,p=1$${SALT}$${HASH}`,
    `$argon2id$v=19$m=131072,t=3,p=1$${SALT}$${HASH}`,
    `$argon2id$v=19$m=65536,t=11,p=1$${SALT}$${HASH}`,
    `$argon2id$v=19$m=1024,t=0,p=1$${SALT}$${HASH}`,
    `$argon2id$v=16$m=1024,t=1,p=1$${SALT}$${HASH}`,
    `$argon2id$v=19$m=4294967295,t=1,p=1$${SALT}$${HASH}`,
    `$argon2id$v=19$m=1024,t=1,p=1$${SALT}$AA`,
    `$scrypt$ln=18,r=8,p=1$${SALT}$${HASH}`,
    `$scrypt$ln=17,r=8,p=2$${SALT}$${HASH}`,
    `$scrypt$ln=30,r=1,p=1$${SALT}$${HASH}`,
    `scrypt$1000$salt$8$1$${HASH}=`,
    `scrypt$1e9$salt$8$1$${HASH}=`,
    `$pbkdf2-sha256$2000001$${SALT}$${HASH}`,
    `$pbkdf2-sha256$0$${SALT}$${HASH}`,
    `$pbkdf2-sha256$-5$${SALT}$${HASH}`,
    // Two blocks are twice the work.
    `$pbkdf2$1500000$${SALT}$${HASH}`,
    `$pbkdf2-md5$1000$${SALT}$${HASH}`,
    `$pbkdf2-sha256$1000$${SALT}$`,
    // So short a hash is right for too many passwords.
    `$pbkdf2-sha256$1000$${SALT}$AAECAw`,
    `$pbkdf2-sha256$i=1000,l=16$${SALT}$${HASH}`,
    `pbkdf2_sha256$1000$${HASH}=`,
    `pbkdf2_sha256$1000$$${HASH}=`,
    `pbkdf2_sha256$1000$a$b$${HASH}=`,
    `bcrypt_sha256$$2b$05$${BCRYPT}`,
    `md5$salt$${SALT}`,
    `sha1$salt$${SALT}`,
    "!",
    `$y$j9T$${SALT}$${HASH}`,
    `$6$rounds=5000$salt$${HASH}`,
  ];
  assert.deepEqual(
    good.filter((text) => readImportedHash(text) === undefined),
    [],
  );
  assert.deepEqual(
    bad.filter((text) => readImportedHash(text) !== undefined),
    [],
  );
});

test("of a good hash that is changed anywhere, what is still taken is checked without a fault", async () => {
  const cheap = VECTORS.map(([, hash]) => hash);
  const characters = [..."$,=.+/aZ09\0é"];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...cheap),
      fc.nat(),
      fc.constantFrom(...characters),
      async (hash, at, character) => {
        const place = at % hash.length;
        const changed = hash.slice(0, place) + character + hash.slice(place + 1);
        const stored = readImportedHash(changed);
        // Passlib writes a plus as a dot.
        const isSame = changed.replaceAll(".", "+") === hash.replaceAll(".", "+");
        if (stored !== undefined && !isSame) {
          // It is neither a fault nor right: but for characters that bcrypt's versions differ in.
          const isRight = await hasher.verify(VECTOR_PASSWORD, stored);
          assert.ok(!isRight || /^(bcrypt\$)?\$2/.test(changed), changed);
        }
      },
    ),
    { numRuns: 150 },
  );
});
