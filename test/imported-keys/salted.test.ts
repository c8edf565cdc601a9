import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hash as argon2Hash } from "@node-rs/argon2";
import { hashSync } from "bcryptjs";
import { AttemptThrottle } from "../../src/credentials/imported-key/attempt-throttle.ts";
import { BcryptThread } from "../../src/credentials/imported-key/bcrypt-thread.ts";
import { createSaltedCheck } from "../../src/credentials/imported-key/salted-check.ts";
import { AuthError } from "../../src/errors.ts";
import { cleanup, run } from "../support/process.ts";
import { refusedWith } from "../support/refusal.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";
import {
  hashOf,
  ImportMode,
  importKey,
  importKeys,
  KeyHashAlgorithm,
  type KeyInit,
  keyOf,
  oldKey,
  present,
  randomText,
  refusalOf,
  untilRehashed,
} from "./import.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

const keys = () => service.client(ApiKeyService, { "x-internal-key": service.internalKey });
const ARGON2 = { hashing: { algorithm: KeyHashAlgorithm.ARGON2 }, mode: ImportMode.BEST_EFFORT } as const;
const BCRYPT = { ...ARGON2, hashing: { algorithm: KeyHashAlgorithm.BCRYPT } } as const;

async function saltedKeyOf(text: string, more: KeyInit = {}): Promise<KeyInit> {
  const hash = Buffer.from(await argon2Hash(text, { memoryCost: 1024, timeCost: 1 }));
  return keyOf(text, { hash, lookupPrefix: text.slice(0, 12), ...more });
}

const alike = (text: string) => text.slice(0, 12) + randomText(28);

test("three keys that begin alike are told apart, and the fourth has no place until one is gone", async () => {
  const first = oldKey();
  const texts = [first, alike(first), alike(first)];
  const { results } = await importKeys(
    service,
    await Promise.all(texts.map((text) => saltedKeyOf(text))),
    ARGON2,
  );
  const fourth = await saltedKeyOf(alike(first));
  const attempt = async (key: KeyInit) => (await importKeys(service, [key], ARGON2)).results[0]?.reason;
  assert.equal(await attempt(fourth), "KEY_LOOKUP_PREFIX_CROWDED");
  // A part of the beginning is no way around it, nor is more of it.
  for (const length of [8, 11, 13, 20]) {
    const text = first.slice(0, length) + randomText(40 - length);
    const key = await saltedKeyOf(text, { lookupPrefix: text.slice(0, length) });
    const crowded = length <= 12 || text.startsWith(first.slice(0, 12));
    assert.equal(await attempt(key), crowded ? "KEY_LOOKUP_PREFIX_CROWDED" : "", String(length));
  }
  for (const [at, text] of texts.entries()) {
    assert.equal((await present(service, text)).principal?.id, results[at]?.id);
  }
  // Whoever has a slot takes no place any more, and neither does who was revoked.
  for (const { id } of results) {
    await untilRehashed(service, id);
  }
  assert.equal(await attempt(fourth), "");
  const others = await Promise.all([alike(first), alike(first)].map((text) => saltedKeyOf(text)));
  const more = await importKeys(service, others, ARGON2);
  assert.equal(await attempt(await saltedKeyOf(alike(first))), "KEY_LOOKUP_PREFIX_CROWDED");
  await keys().revokeApiKey({ id: more.results[0]?.id ?? "" });
  assert.equal(await attempt(await saltedKeyOf(alike(first))), "");
});

test("within one call too, three keys may begin alike", async () => {
  const first = oldKey();
  const salted = await Promise.all(
    [first, alike(first), alike(first), alike(first)].map((text) => saltedKeyOf(text)),
  );
  const { results } = await importKeys(service, salted, ARGON2);
  assert.deepEqual(
    results.map(({ reason }) => reason),
    ["", "", "", "KEY_LOOKUP_PREFIX_CROWDED"],
  );
  const again = await importKeys(service, salted, { ...ARGON2, mode: ImportMode.ALL_OR_NOTHING });
  assert.deepEqual([again.unchanged, again.refused, again.imported], [3, 1, 0]);
});

test("after a few wrong texts that begin like a key it is not hashed for a while, and other keys are", async () => {
  const text = oldKey();
  const id = await importKey(service, await saltedKeyOf(text), ARGON2);
  const other = oldKey();
  await importKey(service, await saltedKeyOf(other), ARGON2);
  const used = oldKey();
  const usedId = await importKey(service, await saltedKeyOf(used), ARGON2);
  await present(service, used);
  await untilRehashed(service, usedId);

  for (let wrong = 0; wrong < 5; wrong++) {
    assert.equal(await refusalOf(service, alike(text)), "API_KEY_INVALID");
  }
  for (const each of [alike(text), text]) {
    const error = await refusedWith("KEY_CHECK_BUSY", present(service, each));
    assert.ok(!error.message.includes(text.slice(0, 8)));
  }
  await refusedWith("KEY_CHECK_BUSY", service.client(ApiKeyService).revokeOwnApiKey({ apiKey: text }));
  assert.equal((await hashOf(service, id)).rehashed, false);
  assert.equal(await refusalOf(service, other), undefined);
  // A key that has a slot is beyond anybody's reach.
  for (let wrong = 0; wrong < 8; wrong++) {
    assert.equal(await refusalOf(service, alike(used)), "API_KEY_INVALID");
  }
  assert.equal(await refusalOf(service, used), undefined);
  // Each replica keeps its own count.
  const replica = await startService({ beside: service });
  try {
    assert.equal(await refusalOf(replica, text), undefined);
  } finally {
    await replica.stop();
  }
});

test("many wrong texts at once get no further than a few", async () => {
  const text = oldKey();
  await importKey(service, await saltedKeyOf(text), ARGON2);
  const reasons = await Promise.all(Array.from({ length: 30 }, () => refusalOf(service, alike(text))));
  const invalid = reasons.filter((reason) => reason === "API_KEY_INVALID");
  assert.equal(invalid.length, 5, String(reasons));
  assert.ok(reasons.every((reason) => reason === "API_KEY_INVALID" || reason === "KEY_CHECK_BUSY"));
});

test("right texts are never throttled, however many", async () => {
  const text = oldKey();
  await importKey(service, await saltedKeyOf(text), ARGON2);
  const uses = await Promise.all(Array.from({ length: 30 }, () => refusalOf(service, text)));
  assert.deepEqual([...new Set(uses)], [undefined]);
});

test("the throttle lets go when its minute is over, and forgets who was right", () => {
  let now = 0;
  const throttle = new AttemptThrottle(() => now);
  const isBusy = (...beginnings: string[]) => {
    try {
      throttle.begin(beginnings);
      return false;
    } catch (error) {
      assert.equal(error instanceof AuthError && error.reason, "KEY_CHECK_BUSY");
      return true;
    }
  };
  for (let right = 0; right < 100; right++) {
    throttle.begin(["a", "a"])();
  }
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map(() => isBusy("a")),
    [false, false, false, false, false, true],
  );
  // What is refused counts for nobody, whatever else it begins like.
  assert.ok(isBusy("a", "b"));
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map(() => isBusy("b")),
    [false, false, false, false, false, true],
  );
  now = 59_999;
  assert.ok(isBusy("a"));
  now = 60_000;
  assert.ok(!isBusy("a"));
});

test("bcrypt at its dearest holds nobody up: other calls are answered meanwhile", async () => {
  const text = oldKey();
  const hash = Buffer.from(hashSync(text, 12));
  await importKey(service, keyOf(text, { hash, lookupPrefix: text.slice(0, 12) }), BCRYPT);
  await present(service, service.apiKey);
  let isDone = false;
  const first = present(service, text).finally(() => {
    isDone = true;
  });
  let answered = 0;
  while (!isDone) {
    await present(service, service.apiKey);
    answered += isDone ? 0 : 1;
  }
  await first;
  // JavaScript's bcrypt yields every 100 ms, and a call has several turns to wait for.
  assert.ok(answered > 10, `${answered} calls were answered while one key was hashed`);
});

test("what waits to be hashed is bounded, and told so", async () => {
  const check = createSaltedCheck();
  try {
    const candidateOf = async (text: string) => ({
      fingerprint: text,
      algorithm: "argon2" as const,
      hash: await argon2Hash(text, { memoryCost: 16_384, timeCost: 4 }),
      lookupPrefix: text.slice(0, 12),
      organizationId: text,
    });
    const texts = Array.from({ length: 40 }, () => oldKey());
    const candidates = await Promise.all(texts.map(candidateOf));
    const outcomes = await Promise.allSettled(
      candidates.map((candidate) => check.find(candidate.fingerprint, candidate.fingerprint, [candidate])),
    );
    const refused = outcomes.filter(({ status }) => status === "rejected");
    assert.equal(refused.length, 40 - 17);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") {
        assert.equal(outcome.reason instanceof AuthError && outcome.reason.reason, "KEY_CHECK_BUSY");
      }
    }
    // Who was turned away was not wrong: there is room again.
    for (const candidate of candidates) {
      assert.equal(await check.find(candidate.fingerprint, candidate.fingerprint, [candidate]), candidate);
    }
  } finally {
    await check.end();
  }
});

test("the thread of bcrypt is started anew after it has ended, and answers in order", async () => {
  const thread = new BcryptThread();
  const hash = hashSync("right", 4);
  try {
    const answers = await Promise.all(
      ["right", "wrong", "right", "right!"].map((text) => thread.matches(text, hash)),
    );
    assert.deepEqual(answers, [true, false, true, false]);
    const interrupted = thread.matches("right", hashSync("right", 12));
    await thread.end();
    await assert.rejects(interrupted, /has ended/);
    assert.equal(await thread.matches("right", hash), true);
  } finally {
    await thread.end();
  }
});

test("a process in which bcrypt was used ends when it has nothing else to do", async (t) => {
  const program = `
    import { BcryptThread } from "./src/credentials/imported-key/bcrypt-thread.ts";
    const thread = new BcryptThread();
    console.log(await thread.matches("right", ${JSON.stringify(hashSync("right", 4))}));`;
  const child = run(cleanup(t), [process.execPath, "--input-type=module", "--eval", program]);
  assert.deepEqual(await child.ended(), { code: 0, signal: null });
  assert.equal(child.stdout, "true\n");
});

test("two salted hashes of one text are one key: the first that was imported", async () => {
  const text = oldKey();
  const first = await importKey(service, await saltedKeyOf(text), ARGON2);
  await importKey(service, await saltedKeyOf(text), ARGON2);
  for (let turn = 0; turn < 3; turn++) {
    assert.equal((await present(service, text)).principal?.id, first);
    await untilRehashed(service, first);
  }
  await keys().revokeApiKey({ id: first });
  assert.equal(await refusalOf(service, text), "API_KEY_REVOKED");
});
