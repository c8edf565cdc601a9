import { setImmediate as nextTurn } from "node:timers/promises";
import type { AuthError } from "../errors.ts";
import { throwIfGivenUp } from "../storage/cancellation.ts";
import { type Authenticate, asAuthError } from "./authenticate.ts";
import type { Decision, Question } from "./decision.ts";

/**
 * How many decisions may wait at once that others were not held up for, of all batches together: fewer than the
 * verify path has connections.
 */
const MOST_AHEAD = 4;
/** How many are made before others have their turn: of those that are known, about a millisecond's. */
const MOST_IN_A_ROW = 100;

/**
 * Asks the one question many times. Each is decided for itself, and rate limits count them in their order.
 *
 * Rejects only where the running call was given up.
 *
 * @param answer makes an answer of each outcome. If it fails of a decision, it is given UNAVAILABLE instead.
 * @returns the answers, in the order of the questions.
 */
export type AuthenticateAll = <Answer>(
  questions: readonly Question[],
  answer: (outcome: Decision | AuthError) => Answer,
) => Promise<Answer[]>;

/**
 * A batch goes on to the next question while one waits for the database, as long as not too many wait; then it goes
 * on one by one, and costs others no more than a client that asks singly.
 */
export function createAuthenticateAll(authenticate: Authenticate): AuthenticateAll {
  let ahead = 0;

  return async (questions, answer) => {
    const answers = new Array<ReturnType<typeof answer>>(questions.length);
    const settle = (at: number, outcome: Decision | AuthError): void => {
      try {
        answers[at] = answer(outcome);
      } catch (thrown) {
        answers[at] = answer(asAuthError(thrown));
      }
    };
    const decide = (at: number, question: Question): Promise<void> | undefined => {
      try {
        const decided = authenticate(question);
        if (decided instanceof Promise) {
          return decided.then(
            (decision) => settle(at, decision),
            (thrown: unknown) => settle(at, asAuthError(thrown)),
          );
        }
        settle(at, decided);
      } catch (thrown) {
        settle(at, asAuthError(thrown));
      }
      return undefined;
    };

    const waiting = new Set<Promise<void>>();
    for (const [at, question] of questions.entries()) {
      throwIfGivenUp();
      if (at % MOST_IN_A_ROW === MOST_IN_A_ROW - 1) {
        await nextTurn();
      }
      const decided = decide(at, question);
      if (decided === undefined) {
        continue;
      }
      if (ahead >= MOST_AHEAD) {
        await decided;
        continue;
      }
      ahead++;
      const done = decided.finally(() => {
        ahead--;
        waiting.delete(done);
      });
      waiting.add(done);
    }
    await Promise.all(waiting);
    throwIfGivenUp();
    return answers;
  };
}
