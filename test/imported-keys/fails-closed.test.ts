import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hash as argon2Hash } from "@node-rs/argon2";
import type { Disproof, Proof } from "../../src/authenticate/proof.ts";
import { createLiveState } from "../../src/authenticate/read-live-state.ts";
import { DecisionTrace } from "../../src/authenticate/trace.ts";
import { importedKeyScheme } from "../../src/credentials/imported-key/imported-key-scheme.ts";
import { createImportedKeys } from "../../src/credentials/imported-key/imported-keys.ts";
import { createForeignTexts } from "../../src/credentials/imported-key/key-format.ts";
import { AuthError } from "../../src/errors.ts";
import { Breaker, FAULTS } from "../authenticate/breaking.ts";
import { startService, type TestService } from "../support/service.ts";
import {
  hashOf,
  importKey,
  KeyHashAlgorithm,
  keyOf,
  oldKey,
  present,
  randomText,
  untilRehashed,
} from "./import.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

const breaker = new Breaker();

/** The scheme, with a point to break at every part that it is made of. To be identified is no use yet. */
function breakableScheme() {
  const { storage, keyHasher, seal } = service.core;
  const importedKeys = createImportedKeys({
    storage,
    liveState: breaker.wrap(createLiveState(breaker.wrap(storage, ["verify"]))),
    keyHasher: breaker.wrap(keyHasher),
    seal: breaker.wrap(seal),
    foreignTexts: createForeignTexts(["ak", "sk"]),
    log: { warn() {} },
  });
  const scheme = breaker.wrap(importedKeyScheme({ importedKeys: breaker.wrap(importedKeys, ["find"]) }));
  const proofId = (proof: Proof | Disproof | undefined) =>
    proof !== undefined && "identity" in proof ? proof.identity.principal.id : "not of this kind";
  const ask = async (text: string, kind: "api_key" | "bearer"): Promise<string> => {
    const context = {
      organizationId: "",
      audience: "",
      trace: new DecisionTrace(true),
    };
    try {
      return proofId(await scheme.prove({ kind, text }, context));
    } catch (error) {
      return error instanceof AuthError ? error.reason : "a fault";
    }
  };
  return { ask, close: () => importedKeys.close() };
}

test("whatever fails and wherever, it is a fault: no key is allowed, refused or taken for another kind", async () => {
  const [plain, keyed, salted, used] = [oldKey(), oldKey(), oldKey(), oldKey()];
  const hash = Buffer.from(await argon2Hash(salted, { memoryCost: 1024, timeCost: 1 }));
  const argon2 = { hashing: { algorithm: KeyHashAlgorithm.ARGON2 } };
  const kinds: readonly (readonly [text: string, outcome: string])[] = [
    [plain, await importKey(service, keyOf(plain))],
    [salted, await importKey(service, keyOf(salted, { hash, lookupPrefix: salted.slice(0, 12) }), argon2)],
    [used, await importKey(service, keyOf(used))],
    [keyed, "API_KEY_INVALID"],
    [salted.slice(0, 12) + randomText(28), "API_KEY_INVALID"],
  ];
  await present(service, used);
  await untilRehashed(service, kinds[2]?.[1] ?? "");

  for (const kind of ["api_key", "bearer"] as const) {
    for (const [text, outcome] of kinds) {
      const { ask, close } = breakableScheme();
      breaker.breakAt(0, () => undefined);
      assert.equal(await ask(text, kind), outcome);
      const { points } = breaker;
      for (let point = 1; point <= points; point++) {
        for (const fault of FAULTS) {
          breaker.breakAt(point, fault);
          const answer = await ask(text, kind);
          // A wrong text is hashed a few times only: then nothing more is asked that could break.
          const isOver = outcome === "API_KEY_INVALID" && answer === "KEY_CHECK_BUSY";
          assert.ok(isOver || (breaker.broke && answer === "a fault"), `${outcome}, ${point}: ${answer}`);
        }
      }
      breaker.breakAt(0, () => undefined);
      await close();
    }
  }
  assert.equal((await hashOf(service, kinds[0]?.[1] ?? "")).rehashed, false);
});
