/** The words of a fault, which nobody outside may read. */
export const CANARY = "canary-of-the-inside";

/** What may go wrong within: none of it is a verdict about a credential. */
export const FAULTS: readonly (() => unknown)[] = [
  () => new Error(CANARY),
  () => Object.assign(new Error(`Connection terminated: ${CANARY}`), { code: "57P01" }),
  () => Object.assign(new TypeError(CANARY), { status: 200, code: "unauthenticated" }),
  () => CANARY,
  () => undefined,
];

/** Breaks one call of many: the n-th point at which something is asked of a part, or has answered. */
export class Breaker {
  #points = 0;
  #at = 0;
  #fault: () => unknown = () => undefined;
  #broke = false;

  /** Breaks the n-th point from now on; 0 breaks nothing. */
  breakAt(point: number, fault: () => unknown): void {
    this.#points = 0;
    this.#at = point;
    this.#fault = fault;
    this.#broke = false;
  }

  /** How many points were passed since. */
  get points(): number {
    return this.#points;
  }

  get broke(): boolean {
    return this.#broke;
  }

  /** The same part, with a point before and one after each of its methods; only of these, if they are named. */
  wrap<Part extends object>(part: Part, methods?: readonly (keyof Part)[]): Part {
    return new Proxy(part, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function" || (methods && !methods.includes(name as keyof Part))) {
          return value;
        }
        return (...given: unknown[]): unknown => {
          this.#pass();
          const result: unknown = Reflect.apply(value, target, given);
          if (result instanceof Promise) {
            return result.then((answer: unknown) => {
              this.#pass();
              return answer;
            });
          }
          this.#pass();
          return result;
        };
      },
    });
  }

  #pass(): void {
    this.#points++;
    if (this.#points === this.#at) {
      this.#broke = true;
      throw this.#fault();
    }
  }
}
