/** How long one answer of the database proves that there is no other replica, in milliseconds. */
const TRUST_MILLIS = 3_000;

/**
 * Knows whether this process is the only replica. After another one has started it may be wrong for as long as
 * an answer is trusted, never longer.
 */
export class Solitude {
  #askedAt = Number.NEGATIVE_INFINITY;
  #wasAlone = false;

  /**
   * What the database answered. Only one question is open at a time.
   *
   * @param askedAt monotonic time, in milliseconds.
   */
  heard(others: number, askedAt: number): void {
    // Two replicas that start at once do not see each other in their first answers.
    const wasKnown = askedAt - this.#askedAt < TRUST_MILLIS;
    this.#askedAt = askedAt;
    this.#wasAlone = others === 0 && wasKnown;
  }

  /** Whether there is no other replica for sure. */
  get isAlone(): boolean {
    return this.#wasAlone && performance.now() - this.#askedAt < TRUST_MILLIS;
  }
}
