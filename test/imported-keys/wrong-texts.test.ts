import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { createLiveState } from "../../src/authenticate/read-live-state.ts";
import { createImportedKeys, type ImportedKeys } from "../../src/credentials/imported-key/imported-keys.ts";
import { createForeignTexts } from "../../src/credentials/imported-key/key-format.ts";
import { AuthError } from "../../src/errors.ts";
import { statementsOf } from "../storage/statements.ts";
import { startService, type TestService } from "../support/service.ts";
import {
  hmac,
  importKey,
  KeyAlphabet,
  KeyHashAlgorithm,
  keyOf,
  oldKey,
  present,
  randomSecret,
  refusalOf,
  sha256,
  untilRehashed,
} from "./import.ts";

let service: TestService;
let importedKeys: ImportedKeys;
before(async () => {
  service = await startService();
  const { core } = service;
  importedKeys = createImportedKeys({
    ...core,
    liveState: createLiveState(core.storage),
    foreignTexts: createForeignTexts(["ak", "sk"]),
    log: { warn: (...told: unknown[]) => assert.fail(String(told)) },
  });
});
after(async () => {
  await importedKeys.close();
  await service.stop();
});

/** The id of the key that a text is of; what else is answered. */
async function find(text: string): Promise<string | undefined> {
  try {
    return (await importedKeys.find(text))?.id;
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    return error.reason;
  }
}

const visible = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code));

test("whatever is changed in a text, it is no key's any more: used or not, with a secret or without", async () => {
  const secret = randomSecret();
  const printable = { prefix: "", length: 40, alphabet: KeyAlphabet.PRINTABLE };
  const made: { text: string; id: string }[] = [];
  for (const use of [false, true]) {
    const [plain, keyed] = [oldKey(), oldKey()];
    // Every text of the same length fits: nothing but the hash tells them apart.
    made.push({ text: plain, id: await importKey(service, keyOf(plain), { format: printable }) });
    const hashing = { algorithm: KeyHashAlgorithm.HMAC_SHA256, hmacSecret: secret };
    const key = keyOf(keyed, { hash: hmac(secret, keyed) });
    made.push({ text: keyed, id: await importKey(service, key, { format: printable, hashing }) });
    if (use) {
      for (const { text, id } of made.slice(-2)) {
        assert.equal((await present(service, text)).principal?.id, id);
        await untilRehashed(service, id);
      }
    }
  }
  for (const { text, id } of made.slice(2)) {
    assert.equal(await find(text), id);
  }
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...made),
      fc.nat({ max: 39 }),
      visible,
      async ({ text }, at, character) => {
        fc.pre(text[at] !== character);
        assert.equal(await find(text.slice(0, at) + character + text.slice(at + 1)), "API_KEY_INVALID");
      },
    ),
    { numRuns: 300 },
  );
  for (const { text } of made) {
    for (const other of [
      text.slice(0, -1),
      `${text}0`,
      text.slice(1),
      `0${text}`,
      text.toUpperCase(),
      text.toLowerCase(),
      ` ${text.slice(1)}`,
      `${text.slice(0, -1)}\0`,
      `${text}\0`,
      [...text].toReversed().join(""),
      "",
    ]) {
      const found = await find(other);
      assert.ok(found === undefined || found === "API_KEY_INVALID", `${other}: ${found}`);
    }
  }
  // And each is still good after all that.
  for (const { text, id } of made) {
    assert.equal(await find(text), id);
  }
});

test("a hash is not a key: neither it nor what is kept of it is taken for a text", async () => {
  const text = oldKey();
  const hex = { prefix: "", length: 64, alphabet: KeyAlphabet.HEX };
  const id = await importKey(service, keyOf(text));
  // Texts that look like hashes may be keys as well.
  const other = sha256("another").toString("hex");
  await importKey(service, keyOf(other), { format: hex });
  assert.equal(await find(sha256(text).toString("hex")), "API_KEY_INVALID");
  assert.equal(await find(text), id);
});

test("a digest is of the algorithm and of the secret that were declared, and of no other", async () => {
  const [one, other] = [randomSecret(), randomSecret()];
  const text = oldKey();
  const keyed = (hmacSecret: Buffer) => ({
    hashing: { algorithm: KeyHashAlgorithm.HMAC_SHA256, hmacSecret },
  });
  // Another text has the digest that this one would have under another secret.
  await importKey(service, keyOf(oldKey(), { hash: hmac(other, text) }), keyed(one));
  await importKey(service, keyOf(oldKey(), { hash: sha256(text) }), keyed(one));
  await importKey(service, keyOf(oldKey()), keyed(other));
  assert.equal(await find(text), "API_KEY_INVALID");
});

test("a text is a key's in the format that it was declared with, and in no other that it fits", async () => {
  const text = oldKey();
  await importKey(service, keyOf(text), {
    format: { prefix: "new_", length: 40, alphabet: KeyAlphabet.BASE62 },
  });
  // Its digest is known, but for texts that look otherwise.
  assert.equal(await find(text), "API_KEY_INVALID");
});

test("what fits no format that was declared is refused with one statement, and what cannot fit with none", async () => {
  const costs = async (text: string) => (await statementsOf(() => refusalOf(service, text))).length;
  assert.equal(await costs("x".repeat(17)), 1);
  assert.equal(await costs("x".repeat(15)), 0);
  assert.equal(await costs("x".repeat(513)), 0);
  assert.equal(await costs(`sk_${"x".repeat(60)}`), 0);
  assert.equal(await costs("eyJhbGciOiJub25lIn0.e30.c2ln"), 0);
});
