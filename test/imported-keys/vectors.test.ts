import assert from "node:assert/strict";
import { test } from "node:test";
import { matchesScrypt } from "../../src/credentials/imported-key/scrypt-hash.ts";
import { startService } from "../support/service.ts";
import { hashOf, type ImportRequest, importKey, keyOf, present, refusalOf, untilRehashed } from "./import.ts";
import { VECTOR_TEXT, VECTORS } from "./vectors.ts";

const WRONG = `${VECTOR_TEXT.slice(0, -1)}x`;

for (const { what, algorithm, hash, hmacSecret } of VECTORS) {
  test(`a key that others hashed with ${what} works by its hash, and then without it`, async () => {
    // One text stands for one key, so that each has a database of its own.
    const service = await startService();
    try {
      const isSalted = hash[0] === "$".charCodeAt(0);
      const hashing: ImportRequest = { hashing: { algorithm, ...(hmacSecret && { hmacSecret }) } };
      const lookupPrefix = isSalted ? VECTOR_TEXT.slice(0, 10) : "";
      const id = await importKey(service, keyOf(VECTOR_TEXT, { hash, lookupPrefix }), hashing);
      assert.equal(await refusalOf(service, WRONG), "API_KEY_INVALID");
      assert.equal((await present(service, VECTOR_TEXT)).principal?.id, id);
      await untilRehashed(service, id);
      assert.deepEqual(await hashOf(service, id), { rehashed: true, salted_hash: null, lookup_prefix: null });
      assert.equal((await present(service, VECTOR_TEXT)).principal?.id, id);
      assert.equal(await refusalOf(service, WRONG), "API_KEY_INVALID");
    } finally {
      await service.stop();
    }
  });
}

// RFC 7914 section 12, the parts of it that are within what is allowed.
test("scrypt is that of its RFC", async () => {
  const base64 = (bytes: Buffer) => bytes.toString("base64").replace(/=+$/, "");
  const salt = base64(Buffer.from("SodiumChloride"));
  const hash = base64(
    Buffer.from(
      "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2" +
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
      "hex",
    ),
  );
  const encoded = `$scrypt$ln=14,r=8,p=1$${salt}$${hash}`;
  assert.equal(await matchesScrypt("pleaseletmein", encoded), true);
  assert.equal(await matchesScrypt("pleaseletmeim", encoded), false);
});
