const MINUTE_MILLIS = 60_000;
/** What ends so often within a minute will not be mended by another start. */
const MOST_IN_A_MINUTE = 5;
const LONGEST_WAIT_MILLIS = 15_000;

/** The untimely ends of one worker and of those that took its place. */
export class CrashHistory {
  readonly #clock: () => number;
  #times: number[] = [];

  /** @param clock in milliseconds. */
  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock;
  }

  add(): void {
    const now = this.#clock();
    this.#times = [...this.#times.filter((time) => now - time < MINUTE_MILLIS), now];
  }

  get isLoop(): boolean {
    return this.#times.length >= MOST_IN_A_MINUTE;
  }

  /** How long to wait before the next start, in milliseconds: the first takes place at once. */
  get waitMillis(): number {
    const { length } = this.#times;
    return length < 2 ? 0 : Math.min(LONGEST_WAIT_MILLIS, 500 * 2 ** (length - 2));
  }
}
