import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Proof } from "../../src/authenticate/proof.ts";
import { ProofMemory } from "../../src/authenticate/proof-memory.ts";
import type { Heard, Hearing } from "../../src/changes/change-feed.ts";
import type { Tag } from "../../src/changes/mutate.ts";
import type { PresentedCredential } from "../../src/credentials/credential-headers.ts";
import type { ProofContext } from "../../src/credentials/scheme.ts";
import { AuthError } from "../../src/errors.ts";
import { runCancellable } from "../../src/storage/cancellation.ts";

const MAX_BYTES = 16 * 1024 * 1024;

/** A feed that hears what it is told. */
class ToldHearing implements Hearing {
  generation = 0;
  provenAt = Infinity;
  revision = "";
  readonly #listeners: ((heard: Heard) => void)[] = [];

  now(): number | undefined {
    return undefined;
  }

  onHeard(listener: (heard: Heard) => void): void {
    this.#listeners.push(listener);
  }

  async reach(): Promise<void> {}

  hear(heard: Heard): void {
    this.generation += 1;
    for (const listener of this.#listeners) {
      listener(heard);
    }
  }
}

/** What the database says is put off until the test lets it answer. */
class SlowDatabase {
  readonly reads: { readonly text: string; answer(): void; fail(error: unknown): void }[] = [];
  asked = 0;
  /** What is committed: a proof tells which. */
  version = 0;

  prove(text: string, more: Partial<Proof> = {}): Promise<Proof> {
    this.asked += 1;
    const { promise, resolve, reject } = Promise.withResolvers<Proof>();
    // The snapshot is that of the moment in which it is asked.
    const proof = proofOf(this.version, more);
    this.reads.push({ text, answer: () => resolve(proof), fail: reject });
    return promise;
  }

  async answerAll(): Promise<void> {
    for (const read of this.reads.splice(0)) {
      read.answer();
    }
    await settled();
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

const TAG = "key:1";

function proofOf(version: number, more: Partial<Proof> = {}): Proof {
  return {
    held: undefined,
    ends: [],
    tags: [TAG],
    readMillis: version,
    variesByOrganization: false,
    identity: {
      principal: { id: String(version), type: "api_key", displayName: "", email: "", role: "" },
      credential: { id: "1", type: "api_key", expireTime: undefined },
      organization: undefined,
      parentKey: undefined,
      owner: { userId: "1" },
      grants: [],
      permissions: new Set(),
      catalogue: { organization: [], platform: [] },
      allowedCidrs: [],
      secretId: undefined,
      secretMakers: [],
      rateLimit: undefined,
    },
    ...more,
  };
}

const CONTEXT: ProofContext = { organizationId: "", audience: "", trace: { check() {} } };

function memoryOf(more: (context: ProofContext) => Partial<Proof> = () => ({}), maxBytes = MAX_BYTES) {
  const hearing = new ToldHearing();
  const database = new SlowDatabase();
  const memory = new ProofMemory({
    prove: ({ text }, context) => database.prove(text, more(context)),
    screen: () => {},
    hearing,
    maxBytes,
  });
  const ask = async (
    text = "a",
    context: Partial<ProofContext> = {},
    kind: PresentedCredential["kind"] = "api_key",
  ) => {
    const proof = await memory.prove({ kind, text }, { ...CONTEXT, ...context });
    assert.ok("identity" in proof);
    return Number(proof.identity.principal.id);
  };
  /** Asks, and lets the database answer. */
  const learn = async (...asked: Parameters<typeof ask>) => {
    const answer = ask(...asked);
    await database.answerAll();
    return await answer;
  };
  return { hearing, database, memory, ask, learn };
}

test("what was asked once is answered at once, until something changes that it depends on", async () => {
  const { hearing, database, ask, learn } = memoryOf();
  assert.equal(await learn(), 0);
  assert.equal(await ask(), 0);
  hearing.hear(["key:other", "user:1"]);
  assert.equal(await ask(), 0);
  assert.equal(database.asked, 1);
  database.version = 1;
  hearing.hear([TAG]);
  assert.equal(await learn(), 1);
  database.version = 2;
  hearing.hear("everything");
  assert.equal(await learn(), 2);
  assert.equal(database.asked, 3);
});

test("a read that began before a change is not remembered after it, nor told to whoever asks after it", async () => {
  for (const heard of [[TAG], ["org:x", TAG], "everything"] as const) {
    const { hearing, database, ask } = memoryOf();
    const before = ask();
    database.version = 1;
    hearing.hear(heard as Heard);
    const after = ask();
    assert.equal(database.asked, 2, "whoever asks after the change asks anew");
    await database.answerAll();
    assert.deepEqual([await before, await after], [0, 1]);
    assert.equal(await ask(), 1);
    assert.equal(database.asked, 2);
  }
});

test("however the reads of a tag overlap with its changes, nobody is told what was before a change that was heard of", async () => {
  const tags = ["key:1", "user:1", "org:1"] as const satisfies Tag[];
  type Step =
    | { readonly kind: "ask"; readonly text: string }
    | { readonly kind: "answer"; readonly at: number }
    | { readonly kind: "change"; readonly tag: Tag | "everything"; readonly isHeard: boolean }
    | { readonly kind: "hear" };
  const steps: fc.Arbitrary<Step[]> = fc.array(
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ kind: fc.constant("ask" as const), text: fc.constantFrom("a", "b") }),
      },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("answer" as const), at: fc.nat(2) }) },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant("change" as const),
          tag: fc.constantFrom(...tags, "everything" as const),
          isHeard: fc.boolean(),
        }),
      },
      { weight: 1, arbitrary: fc.constant({ kind: "hear" as const }) },
    ),
    { minLength: 10, maxLength: 40 },
  );
  let remembered = 0;
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      // `a` depends on all of them, `b` on the last only.
      const { hearing, database } = memoryOf();
      const ownTags = (text: string): Tag[] => (text === "a" ? [...tags] : ["org:1"]);
      const own = new ProofMemory({
        prove: ({ text }) => database.prove(text, { tags: ownTags(text) }),
        screen: () => {},
        hearing,
        maxBytes: MAX_BYTES,
      });
      let unheard: Heard[] = [];
      /** The version that each text must at least be told of. */
      const least = { a: 0, b: 0 };
      const calls: Promise<void>[] = [];
      const hear = (heard: Heard, version: number) => {
        for (const text of ["a", "b"] as const) {
          if (heard === "everything" || heard.some((tag) => ownTags(text).includes(tag))) {
            least[text] = version;
          }
        }
        hearing.hear(heard);
      };
      for (const step of all) {
        switch (step.kind) {
          case "ask": {
            const must = least[step.text as "a" | "b"];
            const before = database.asked;
            const answer = own.prove({ kind: "api_key", text: step.text }, CONTEXT);
            remembered += database.asked === before && !(answer instanceof Promise) ? 1 : 0;
            calls.push(
              Promise.resolve(answer).then((proof) => {
                assert.ok("identity" in proof);
                assert.ok(Number(proof.identity.principal.id) >= must);
              }),
            );
            break;
          }
          case "answer":
            database.reads.splice(step.at, 1)[0]?.answer();
            await settled();
            break;
          case "change": {
            database.version += 1;
            const heard: Heard = step.tag === "everything" ? "everything" : [step.tag];
            if (step.isHeard) {
              hear(heard, database.version);
            } else {
              unheard.push(heard);
            }
            break;
          }
          case "hear":
            for (const heard of unheard) {
              hear(heard, database.version);
            }
            unheard = [];
        }
      }
      await database.answerAll();
      await Promise.all(calls);
    }),
    { numRuns: 500 },
  );
  assert.ok(remembered > 100, "hardly anything was remembered");
});

test("calls that need the same share one read of the database", async () => {
  const { database, ask } = memoryOf();
  const calls = Array.from({ length: 100 }, () => ask());
  assert.equal(database.asked, 1);
  await database.answerAll();
  assert.deepEqual(new Set(await Promise.all(calls)), new Set([0]));
});

test("a read that fails is told to all who wait for it, and is not remembered", async () => {
  const { database, ask, learn } = memoryOf();
  const calls = [ask(), ask()].map((call) => assert.rejects(call, /away/));
  database.reads.splice(0)[0]?.fail(new Error("away"));
  await Promise.all(calls);
  assert.equal(await learn(), 0);
});

test("what is remembered is used for 5 seconds after it was known that all changes were heard of, or after its read", async (t) => {
  const { hearing, database, ask, learn } = memoryOf();
  let now = 1_000_000;
  t.mock.method(performance, "now", () => now);
  hearing.provenAt = now;
  await learn();
  now += 4_999;
  assert.equal(await ask(), 0);
  now += 1;
  database.version = 1;
  assert.equal(await learn(), 1, "the feed is stale: the database is asked");
  now += 4_999;
  assert.equal(await ask(), 1, "an answer of the database is as good as a poll");
  assert.equal(database.asked, 2);
  now += 1;
  const failing = assert.rejects(ask(), /away/);
  database.reads.splice(0)[0]?.fail(new Error("away"));
  await failing;
  hearing.provenAt = now;
  assert.equal(await ask(), 1, "a poll says that nothing has changed meanwhile");
});

test("what is nobody's credential is remembered for 5 seconds, and of the last 10,000 only", async (t) => {
  let now = 1_000_000;
  t.mock.method(performance, "now", () => now);
  let asked = 0;
  const hearing = new ToldHearing();
  const memory = new ProofMemory({
    prove: async () => {
      asked += 1;
      return { disproved: "API_KEY_INVALID" } as const;
    },
    screen: () => {},
    hearing,
    maxBytes: MAX_BYTES,
  });
  const ask = (text: string) => memory.prove({ kind: "api_key", text }, CONTEXT);
  await ask("a");
  await ask("a");
  assert.equal(asked, 1);
  now += 5_000;
  await ask("a");
  assert.equal(asked, 2);
  for (let i = 0; i < 10_000; i++) {
    await ask(`other ${i}`);
  }
  await ask("a");
  assert.equal(asked, 10_003);
  hearing.hear("everything");
  await ask("other 9999");
  assert.equal(asked, 10_004);
  assert.equal(memory.size, 0);
});

test("no other credential, kind, audience of a token or organization of a service finds what was remembered", async () => {
  const organizations = ["", "0198b3a0-0000-7000-8000-000000000001", "0198b3a0-0000-7000-8000-000000000002"];
  const { database, ask, learn } = memoryOf(() => ({ variesByOrganization: true }));
  const cases = (["api_key", "service_key", "bearer"] as const).flatMap((kind) =>
    ["a", "b", "ab"].flatMap((text) =>
      organizations.map((organizationId) => ({ kind, text, organizationId })),
    ),
  );
  const audiences = ["", "x", "a", "\0"];
  const bearers = audiences.flatMap((audience) =>
    organizations.map((organizationId) => ({ audience, organizationId })),
  );
  const seen = new Set<number>();
  const learnEach = async (...asked: Parameters<typeof ask>) => {
    database.version += 1;
    seen.add(await learn(...asked));
    return database.version;
  };
  const expected: [Parameters<typeof ask>, number][] = [];
  for (const { kind, text, organizationId } of cases) {
    const asked: Parameters<typeof ask> = [text, { organizationId }, kind];
    expected.push([asked, await learnEach(...asked)]);
  }
  for (const { audience, organizationId } of bearers.filter(({ audience: one }) => one !== "")) {
    const asked: Parameters<typeof ask> = ["a", { audience, organizationId }, "bearer"];
    expected.push([asked, await learnEach(...asked)]);
  }
  assert.equal(seen.size, expected.length);
  const { asked } = database;
  for (const [each, version] of expected) {
    assert.equal(await ask(...each), version);
  }
  assert.equal(database.asked, asked);
});

test("what does not vary by organization is found whichever one is named", async () => {
  const { database, ask, learn } = memoryOf();
  await learn("a", { organizationId: "" });
  await ask("a", { organizationId: "0198b3a0-0000-7000-8000-000000000001" });
  assert.equal(database.asked, 1);
});

test("what holds for this once is not remembered", async () => {
  const { database, learn } = memoryOf(() => ({ onlyNow: true }));
  await learn();
  await learn();
  assert.equal(database.asked, 2);
});

test("memory is bounded: what was used longest ago goes first", async () => {
  const { database, memory, ask, learn } = memoryOf(() => ({}), 100_000);
  for (let i = 0; i < 1_000; i++) {
    await learn(`key ${i}`);
    await ask("key 0");
  }
  assert.ok(memory.size > 20 && memory.size < 100, String(memory.size));
  const { asked } = database;
  await ask("key 0");
  assert.equal(database.asked, asked);
});

test("calls that share a read are each refused by an error of their own, which tells the same", async () => {
  const { database, ask } = memoryOf();
  const asked = [ask(), ask()].map((each) =>
    each.then(
      () => assert.fail("not refused"),
      (error: unknown) => error,
    ),
  );
  assert.equal(database.asked, 1);
  database.reads[0]?.fail(new AuthError("KEY_CHECK_BUSY", { retryAfterMillis: 7 }));
  const [one, other] = await Promise.all(asked);
  assert.ok(one instanceof AuthError && other instanceof AuthError && one !== other);
  for (const error of [one, other]) {
    assert.deepEqual([error.reason, error.retryAfterMillis], ["KEY_CHECK_BUSY", 7]);
  }
});

test("memory is bounded with the answers that are kept in it, which name all permissions", async () => {
  const permissions = new Set(Array.from({ length: 100 }, (_, at) => `service.resource${at}.read`));
  const { identity } = proofOf(0);
  const { memory, learn } = memoryOf(() => ({ identity: { ...identity, permissions } }), 1_000_000);
  for (let i = 0; i < 1_000; i++) {
    await learn(`key ${i}`);
  }
  const answerBytes = [...permissions].join('","').length;
  assert.ok(memory.size > 20 && memory.size * 2 * answerBytes < 1_000_000, String(memory.size));
});

test("a read is given up when all are that wait for it, and not before", async () => {
  const hearing = new ToldHearing();
  const signals: AbortSignal[] = [];
  const { runningSignal } = await import("../../src/storage/cancellation.ts");
  const never = Promise.withResolvers<Proof>();
  const memory = new ProofMemory({
    prove: () => {
      signals.push(runningSignal() ?? assert.fail("it cannot be given up"));
      return never.promise;
    },
    screen: () => {},
    hearing,
    maxBytes: MAX_BYTES,
  });
  const [one, other] = [new AbortController(), new AbortController()];
  const ask = ({ signal }: AbortController) =>
    runCancellable(signal, async () => await memory.prove({ kind: "api_key", text: "a" }, CONTEXT));
  const calls = [assert.rejects(ask(one), /enough/), assert.rejects(ask(other), /enough/)];
  assert.equal(signals.length, 1);
  one.abort(new Error("enough"));
  await settled();
  assert.equal(signals[0]?.aborted, false);
  other.abort(new Error("enough"));
  await Promise.all(calls);
  assert.equal(signals[0]?.aborted, true);
  never.resolve(proofOf(0));
});
