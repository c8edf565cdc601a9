import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import type { Reason } from "../../src/errors.ts";
import { ApiKeyToImportSchema } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { startService } from "../support/service.ts";
import { asValues } from "./bad-calls.ts";
import { badLists, CONTROLS, ruleBreaking } from "./bad-values.ts";
import { type Leaf, leavesOf, put, stringRules, valueAt } from "./leaves.ts";
import { goodCalls } from "./methods.ts";
import { shown } from "./outcomes.ts";
import { callHttp1 } from "./raw-call.ts";
import { refusals } from "./refusals.ts";

// Of keys that are imported, each is judged by itself: what is wrong with one is told in its result.

const service = await startService();
after(() => service.stop());
const { assertRefused } = await refusals(service);
const calls = await goodCalls(service);
const [plain, salted] = calls.filter(({ method }) => method.name === "ImportApiKeys");
const { path, credential, body: plainBody } = plain ?? assert.fail();
const saltedBody = salted?.body ?? assert.fail();

const keyOf = ({ keys }: JsonObject) => (keys as readonly JsonObject[])[0] ?? assert.fail();
const newHash = () => randomBytes(32).toString("base64");
const goodKey = () => ({ ...keyOf(plainBody), hash: newHash() });

interface Result {
  readonly id?: string;
  readonly outcome: string;
  readonly reason?: string;
}

interface Told {
  readonly results: readonly Result[];
  readonly imported?: number;
  readonly refused?: number;
}

async function importKeys(body: JsonObject, keys: JsonValue, more: JsonObject = {}): Promise<Told> {
  const answer = await callHttp1(service.port, path, credential, JSON.stringify({ ...body, keys, ...more }));
  assert.equal(answer.status, 200, answer.body.toString());
  return JSON.parse(answer.body.toString());
}

/** What became of each key: `IMPORTED`, or `REFUSED` with why. */
const outcomesOf = (results: readonly Result[]) =>
  results.map(({ outcome, reason, id }) =>
    [outcome.replace("IMPORT_OUTCOME_", ""), reason, id === undefined ? undefined : "with an id"]
      .filter((part) => part !== undefined)
      .join(" "),
  );

const ALL_OR_NOTHING = { mode: "IMPORT_MODE_ALL_OR_NOTHING" };
const BEST_EFFORT = { mode: "IMPORT_MODE_BEST_EFFORT" };

/** Each way to be bad that a field has, by itself. */
function badKeys(leaf: Leaf): JsonObject[] {
  const good = goodKey();
  const hasWords = leaf.kind === "map" || stringRules(leaf.rules)?.pattern;
  const values = [
    ...ruleBreaking(leaf),
    ...(hasWords ? CONTROLS.flatMap((text) => asValues(leaf, text)) : []),
    ...badLists(leaf.desc, valueAt(good, leaf.path)),
  ];
  return values.map((value) => put(good, leaf.path, value));
}

describe("a bad key among good ones is refused by itself, and with it all of them where it is all or nothing", () => {
  for (const leaf of leavesOf(ApiKeyToImportSchema)) {
    const bad = badKeys(leaf);
    if (bad.length === 0) {
      continue;
    }
    test(leaf.path.join("."), async () => {
      const keys = [goodKey(), ...bad, goodKey()];
      const middle = (refused: string) => bad.map(() => refused);
      const tries = [
        { name: "all or nothing", more: ALL_OR_NOTHING, others: "SKIPPED" },
        {
          name: "all or nothing, to look",
          more: { ...ALL_OR_NOTHING, validateOnly: true },
          others: "SKIPPED",
        },
        { name: "best effort, to look", more: { ...BEST_EFFORT, validateOnly: true }, others: "IMPORTED" },
      ].map((row) => ({ ...row, outcome: "as expected" }));
      await assertRefused(tries, async ({ more, others }) => {
        const { results } = await importKeys(plainBody, keys, more);
        assert.deepEqual(outcomesOf(results), [others, ...middle("REFUSED REQUEST_INVALID"), others]);
        return "as expected";
      });
      const { results, imported, refused } = await importKeys(plainBody, keys, BEST_EFFORT);
      const made = "IMPORTED with an id";
      assert.deepEqual(outcomesOf(results), [made, ...middle("REFUSED REQUEST_INVALID"), made]);
      assert.deepEqual([imported, refused], [2, bad.length]);
    });
  }
});

/** Those of each algorithm that are no hash of it. */
const NO_HASHES: Readonly<Record<string, readonly Buffer[]>> = {
  SHA256: [0, 1, 16, 20, 31, 33, 48, 64, 65_000].map((length) => randomBytes(length)),
  SHA512: [0, 1, 20, 32, 63, 65, 128].map((length) => randomBytes(length)),
  HMAC_SHA256: [0, 1, 20, 31, 33, 64].map((length) => randomBytes(length)),
  HMAC_SHA512: [0, 1, 32, 63, 65].map((length) => randomBytes(length)),
  ...Object.fromEntries(
    ["BCRYPT", "SCRYPT", "ARGON2"].map((algorithm) => [
      algorithm,
      [
        ...["", "x", "$", "$2b$", "$2b$10$", "$2b$15$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C"],
        ...["$scrypt$ln=30,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$9+sHrEAjzf7jsqUIc9KooxRGRBG3+G5ttTCq/2y0SeY"],
        "$argon2id$v=19$m=4194304,t=9,p=4$MDEyMzQ1Njc4OWFiY2RlZg$u/Hk+CKeRyt2UWZEYXy7tUOuDAbu2mMImRzXTrW+hSM",
        `${"$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C"}\0`,
        "' or true --",
      ].map((text) => Buffer.from(text)),
    ]),
  ),
};

describe("a hash is one of the algorithm that was declared", () => {
  for (const [algorithm, hashes] of Object.entries(NO_HASHES)) {
    test(algorithm, async () => {
      const isKeyed = algorithm.startsWith("HMAC");
      const hashing = {
        algorithm: `KEY_HASH_ALGORITHM_${algorithm}`,
        ...(isKeyed && { hmacSecret: "c2VjcmV0" }),
      };
      const keys = hashes.map((hash) => ({ ...keyOf(saltedBody), hash: hash.toString("base64") }));
      const row = { name: algorithm, outcome: "refused, each of them" };
      await assertRefused([row], async () => {
        const { results } = await importKeys(plainBody, keys, { hashing, ...BEST_EFFORT });
        assert.deepEqual(
          outcomesOf(results),
          hashes.map(() => "REFUSED KEY_HASH_INVALID"),
        );
        return "refused, each of them";
      });
    });
  }
});

describe("a key of two minds", () => {
  const other = keyOf(plainBody);
  const differences: Readonly<Record<string, JsonObject>> = {
    name: { name: "another" },
    permissions: { permissions: ["calls.write"] },
    "an end": { expireTime: "2998-01-01T00:00:00Z" },
    addresses: { allowedCidrs: [] },
    environment: { environment: "live" },
    metadata: { metadata: { entries: {} } },
    "a rate limit": { rateLimit: { requests: 1, windowSeconds: 1 } },
  };

  test("is taken as it was first: with other content, or for another owner, its hash is taken", async () => {
    const hash = newHash();
    const first = await importKeys(plainBody, [{ ...other, hash }]);
    assert.deepEqual(outcomesOf(first.results), ["IMPORTED with an id"]);
    const rows = Object.entries(differences).map(([name, more]) => ({ name, more, outcome: "taken" }));
    await assertRefused(rows, async ({ more }) => {
      for (const mode of [ALL_OR_NOTHING, BEST_EFFORT]) {
        const { results } = await importKeys(plainBody, [{ ...other, hash, ...more }], mode);
        assert.deepEqual(outcomesOf(results), ["REFUSED KEY_HASH_TAKEN"]);
      }
      return "taken";
    });
    const same = await importKeys(plainBody, [{ ...other, hash }]);
    assert.deepEqual(
      same.results.map(({ id: told, outcome }) => [told, outcome]),
      [[first.results[0]?.id, "IMPORT_OUTCOME_UNCHANGED"]],
    );
  });

  test("is imported once where it comes twice in a call, and not at all where it is all or nothing", async () => {
    const hash = newHash();
    const twice = [goodKey(), { ...other, hash }, { ...other, hash, name: "again" }, { ...other, hash }];
    const taken = "REFUSED KEY_HASH_TAKEN" satisfies `REFUSED ${Reason}`;
    const row = { name: "twice", outcome: "nothing is imported" };
    await assertRefused([row], async () => {
      const { results } = await importKeys(plainBody, twice, ALL_OR_NOTHING);
      assert.deepEqual(outcomesOf(results), ["SKIPPED", "SKIPPED", taken, taken]);
      return "nothing is imported";
    });
    const { results } = await importKeys(plainBody, twice, BEST_EFFORT);
    const made = "IMPORTED with an id";
    assert.deepEqual(outcomesOf(results), [made, made, taken, taken], shown(JSON.stringify(results)));
  });
});
