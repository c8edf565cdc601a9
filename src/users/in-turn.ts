import pLimit, { type LimitFunction } from "p-limit";

/** Does work of the same name one after the other, and of different names at once, in this process. */
export type InTurn = <Result>(name: string, work: () => Promise<Result>) => Promise<Result>;

/**
 * @param mostWaiting for one name.
 * @param onCrowded makes the error for whoever would wait behind so many.
 */
export function createInTurn(mostWaiting: number, onCrowded: () => Error): InTurn {
  const turns = new Map<string, LimitFunction>();
  return async (name, work) => {
    const turn = turns.get(name) ?? pLimit(1);
    if (turn.pendingCount >= mostWaiting) {
      throw onCrowded();
    }
    turns.set(name, turn);
    return await turn(async () => {
      try {
        return await work();
      } finally {
        if (turn.pendingCount === 0) {
          turns.delete(name);
        }
      }
    });
  };
}
