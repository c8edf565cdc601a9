import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { createSeal, SealBroken } from "../../src/storage/seal.ts";

const keys = fc.constant(null).map(() => randomBytes(32));
const secrets = fc.uint8Array({ maxLength: 200 });
const places = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("peppers/1", "peppers/2", "", "signing_keys/1"),
);

test("what was sealed opens in its place, to the byte", () => {
  fc.assert(
    fc.property(keys, secrets, places, (key, secret, place) => {
      const sealed = createSeal(key).close(secret, place);
      // Another process with the same key, and bytes as the driver gives them.
      assert.deepEqual(createSeal(Buffer.from(key)).open(new Uint8Array(sealed), place), Buffer.from(secret));
    }),
  );
});

test("what was sealed for one place opens in no other", () => {
  fc.assert(
    fc.property(keys, secrets, places, places, (key, secret, place, other) => {
      fc.pre(!Buffer.from(place).equals(Buffer.from(other)));
      const seal = createSeal(key);
      assert.throws(() => seal.open(seal.close(secret, place), other), SealBroken);
    }),
  );
});

test("what was sealed under one key opens under no other, however alike", () => {
  fc.assert(
    fc.property(keys, fc.nat(255), secrets, (key, bit, secret) => {
      const other = Buffer.from(key);
      other.writeUInt8(other.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      assert.throws(() => createSeal(other).open(createSeal(key).close(secret, "p"), "p"), SealBroken);
    }),
  );
});

test("with any byte changed it does not open", () => {
  fc.assert(
    fc.property(keys, secrets, fc.integer({ min: 1, max: 255 }), (key, secret, change) => {
      const seal = createSeal(key);
      const sealed = seal.close(secret, "p");
      for (let at = 0; at < sealed.length; at++) {
        const changed = Buffer.from(sealed);
        changed.writeUInt8(changed.readUInt8(at) ^ change, at);
        assert.throws(() => seal.open(changed, "p"), SealBroken, `byte ${at}`);
      }
    }),
    { numRuns: 20 },
  );
});

test("cut or made longer it does not open", () => {
  fc.assert(
    fc.property(keys, secrets, fc.uint8Array({ minLength: 1, maxLength: 20 }), (key, secret, more) => {
      const seal = createSeal(key);
      const sealed = seal.close(secret, "p");
      for (let length = 0; length < sealed.length; length++) {
        assert.throws(() => seal.open(sealed.subarray(0, length), "p"), SealBroken);
      }
      assert.throws(() => seal.open(Buffer.concat([sealed, more]), "p"), SealBroken);
      assert.throws(() => seal.open(Buffer.concat([more, sealed]), "p"), SealBroken);
    }),
    { numRuns: 20 },
  );
});

test("bytes that nobody sealed do not open", () => {
  fc.assert(
    fc.property(keys, fc.uint8Array({ maxLength: 100 }), (key, bytes) => {
      assert.throws(() => createSeal(key).open(bytes, "p"), SealBroken);
      assert.throws(() => createSeal(key).open(Buffer.concat([Buffer.of(1), bytes]), "p"), SealBroken);
    }),
  );
});

test("the same secret never looks the same twice, and does not show", () => {
  const seal = createSeal(randomBytes(32));
  const secret = randomBytes(32);
  const sealed = Array.from({ length: 1_000 }, () => seal.close(secret, "p"));
  assert.equal(new Set(sealed.map((bytes) => bytes.toString("hex"))).size, 1_000);
  assert.equal(new Set(sealed.map((bytes) => bytes.subarray(9, 21).toString("hex"))).size, 1_000);
  assert.ok(sealed.every((bytes) => !bytes.includes(secret.subarray(0, 8))));
});

test("what does not open says where, and nothing of what is in it", () => {
  const seal = createSeal(randomBytes(32));
  const sealed = seal.close(Buffer.from("canary of a secret"), "peppers/1");
  assert.throws(
    () => createSeal(randomBytes(32)).open(sealed, "peppers/1"),
    (error) => error instanceof SealBroken && /peppers\/1$/.test(error.message),
  );
});

test("what was sealed under the previous key opens, and nothing more is sealed under it", () => {
  fc.assert(
    fc.property(keys, keys, secrets, places, (key, previous, secret, place) => {
      const [old, both, alone] = [createSeal(previous), createSeal(key, previous), createSeal(key)];
      assert.deepEqual(both.open(old.close(secret, place), place), Buffer.from(secret));
      const sealed = both.close(secret, place);
      assert.deepEqual(alone.open(sealed, place), Buffer.from(secret));
      assert.throws(() => old.open(sealed, place), SealBroken);
      assert.throws(() => alone.open(old.close(secret, place), place), SealBroken);
      // In whichever order the two keys were given.
      assert.deepEqual(createSeal(previous, key).open(sealed, place), Buffer.from(secret));
    }),
  );
});

test("a value names its key, so that another's is known without trying", () => {
  fc.assert(
    fc.property(keys, keys, secrets, (key, other, secret) => {
      const [seal, alike] = [createSeal(key), createSeal(Buffer.from(key))];
      const sealed = seal.close(secret, "p");
      assert.deepEqual(sealed.subarray(0, seal.head.length), seal.head);
      assert.deepEqual(seal.head, alike.head);
      assert.notDeepEqual(createSeal(other).head, seal.head);
      assert.ok(!key.includes(seal.head.subarray(1)));
      // The name of one key does not make it open under another.
      const renamed = Buffer.concat([createSeal(other).head, sealed.subarray(seal.head.length)]);
      assert.throws(() => createSeal(other, key).open(renamed, "p"), SealBroken);
    }),
  );
});

test("a value from before they named their key opens under either, and under no third", () => {
  fc.assert(
    fc.property(keys, keys, secrets, places, (key, other, secret, place) => {
      const named = createSeal(key).close(secret, place);
      const nameless = Buffer.concat([Buffer.of(1), named.subarray(9)]);
      for (const seal of [createSeal(key), createSeal(key, other), createSeal(other, key)]) {
        assert.deepEqual(seal.open(nameless, place), Buffer.from(secret));
        assert.throws(() => seal.open(nameless, `${place}!`), SealBroken);
      }
      assert.throws(() => createSeal(other).open(nameless, place), SealBroken);
    }),
  );
});
