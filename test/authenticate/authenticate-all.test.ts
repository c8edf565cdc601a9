import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createAuthenticateAll } from "../../src/authenticate/authenticate-all.ts";
import type { Decision, Question } from "../../src/authenticate/decision.ts";
import { AuthError } from "../../src/errors.ts";
import { runCancellable } from "../../src/storage/cancellation.ts";

/** The questions and the decisions of these tests are known by a number. */
const questionOf = (number: number): Question => ({
  headers: [],
  requiredPermissions: [],
  anyPermissions: [],
  organizationId: "",
  callerOrganizationId: "",
  audience: "",
  clientAddress: String(number),
  minRevision: "",
});
const numberOf = ({ clientAddress }: Question) => Number(clientAddress);
const decisionOf = (number: number) => ({ stripHeaders: [String(number)] }) as unknown as Decision;
const shown = (outcome: Decision | AuthError): string =>
  outcome instanceof AuthError ? outcome.reason : (outcome.stripHeaders[0] ?? "");

/** Decides when it is told to. */
class LateDecisions {
  readonly #open = new Map<number, () => void>();
  most = 0;

  decide(number: number, outcome: () => Decision): Promise<Decision> {
    return new Promise((resolve, reject) => {
      this.#open.set(number, () => {
        this.#open.delete(number);
        try {
          resolve(outcome());
        } catch (error) {
          reject(error);
        }
      });
      this.most = Math.max(this.most, this.#open.size);
    });
  }

  get waiting(): number {
    return this.#open.size;
  }

  /** Makes one of those that wait. */
  makeOne(at: number): void {
    [...this.#open.values()].at(at % Math.max(this.#open.size, 1))?.();
  }
}

/** How a question is answered: with what, and when. */
const entries = fc.array(
  fc.record({
    outcome: fc.constantFrom("allowed", "refused", "broken"),
    when: fc.constantFrom("at once", "late"),
  }),
  { maxLength: 40 },
);

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("each question has its own answer in its place, whatever becomes of the others and in whichever order", async () => {
  const batches = fc.array(entries, { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(batches, fc.infiniteStream(fc.nat(100)), async (given, order) => {
      const all = given.flat();
      const late = new LateDecisions();
      const authenticateAll = createAuthenticateAll((question) => {
        const number = numberOf(question);
        const { outcome, when } = all[number] ?? assert.fail();
        const decide = () => {
          if (outcome === "refused") throw new AuthError("API_KEY_REVOKED");
          if (outcome === "broken") throw new Error("broken");
          return decisionOf(number);
        };
        return when === "late" ? late.decide(number, decide) : decide();
      });
      let next = 0;
      const isDone = Promise.all(
        given.map(({ length }) =>
          authenticateAll(
            Array.from({ length }, () => questionOf(next++)),
            shown,
          ),
        ),
      );
      let answers: string[][] | undefined;
      void isDone.then((done) => {
        answers = done;
      });
      while (answers === undefined) {
        late.makeOne(order.next().value);
        await turn();
      }
      assert.deepEqual(
        answers.flat(),
        all.map(({ outcome }, number) =>
          outcome === "allowed" ? String(number) : outcome === "refused" ? "API_KEY_REVOKED" : "UNAVAILABLE",
        ),
      );
      assert.ok(late.most <= 4 + given.length, `${late.most} at once`);
    }),
    { numRuns: 50 },
  );
});

test("a decision of which no answer can be made is neither an allowance nor a refusal", async () => {
  const authenticateAll = createAuthenticateAll((question) => decisionOf(numberOf(question)));
  const answers = await authenticateAll([1, 2, 3].map(questionOf), (outcome) => {
    const text = shown(outcome);
    if (text === "2") throw new Error("it cannot be written");
    return text;
  });
  assert.deepEqual(answers, ["1", "UNAVAILABLE", "3"]);
});

test("others have their turn while a large batch is decided from memory", async () => {
  let turns = 0;
  let isDone = false;
  const count = (): void => {
    turns++;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  const authenticateAll = createAuthenticateAll((question) => decisionOf(numberOf(question)));
  await authenticateAll(
    Array.from({ length: 1000 }, (_, at) => questionOf(at)),
    shown,
  );
  isDone = true;
  assert.ok(turns >= 9, `${turns} turns`);
});

test("a batch that is given up asks nothing more, and is no answer", async () => {
  const givenUp = new AbortController();
  const reason = new Error("the deadline has passed");
  const late = new LateDecisions();
  const asked: number[] = [];
  const authenticateAll = createAuthenticateAll((question) => {
    asked.push(numberOf(question));
    return late.decide(numberOf(question), () => {
      throw new Error("its statement was cancelled");
    });
  });
  const batch = runCancellable(givenUp.signal, () =>
    authenticateAll(
      Array.from({ length: 20 }, (_, at) => questionOf(at)),
      shown,
    ),
  );
  const rejected = assert.rejects(batch, reason);
  givenUp.abort(reason);
  while (late.waiting > 0) {
    late.makeOne(0);
    await turn();
  }
  await rejected;
  assert.deepEqual(asked, [0, 1, 2, 3, 4]);
  // What others may still ask at once is what it was.
  const before = late.most;
  const again = authenticateAll([questionOf(30), questionOf(31)], shown);
  assert.equal(late.waiting, 2);
  late.makeOne(0);
  late.makeOne(0);
  assert.deepEqual(await again, ["UNAVAILABLE", "UNAVAILABLE"]);
  assert.equal(late.most, before);
});
