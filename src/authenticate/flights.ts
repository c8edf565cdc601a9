import { runCancellable, runningSignal } from "../storage/cancellation.ts";

interface Flight<Answer> {
  /** Of the moment when it began. */
  readonly generation: number;
  readonly answer: Promise<Answer>;
  readonly givenUp: AbortController;
  waiters: number;
}

/**
 * One question at a time, however many calls have it: they share its answer, unless something has changed since it
 * was asked. It is given up when all of them are.
 */
export class Flights<Answer> {
  readonly #flights = new Map<string, Flight<Answer>>();

  /** @param generation whoever asks takes no answer of a question that was asked in another one. */
  join(name: string, generation: number, ask: () => Promise<Answer>): Promise<Answer> {
    const signal = runningSignal();
    signal?.throwIfAborted();
    const known = this.#flights.get(name);
    const flight = known?.generation === generation ? known : this.#begin(name, generation, ask);
    flight.waiters += 1;
    return signal === undefined ? flight.answer : this.#untilGivenUp(name, flight, signal);
  }

  #begin(name: string, generation: number, ask: () => Promise<Answer>): Flight<Answer> {
    const givenUp = new AbortController();
    const flight: Flight<Answer> = {
      generation,
      givenUp,
      waiters: 0,
      answer: runCancellable(givenUp.signal, ask).finally(() => this.#end(name, flight)),
    };
    // Whoever waits is told; where nobody does any more, it is no news.
    flight.answer.catch(() => {});
    this.#flights.set(name, flight);
    return flight;
  }

  #end(name: string, flight: Flight<Answer>): void {
    if (this.#flights.get(name) === flight) {
      this.#flights.delete(name);
    }
  }

  async #untilGivenUp(name: string, flight: Flight<Answer>, signal: AbortSignal): Promise<Answer> {
    const { promise, reject } = Promise.withResolvers<never>();
    const giveUp = () => {
      reject(signal.reason);
      flight.waiters -= 1;
      if (flight.waiters === 0) {
        // Nobody joins what is being given up.
        this.#end(name, flight);
        flight.givenUp.abort(signal.reason);
      }
    };
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      return await Promise.race([flight.answer, promise]);
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }
}
