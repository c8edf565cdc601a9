import { AuthError } from "../../errors.ts";

const MOST_FAILURES = 5;
/** Of one organization: its slow keys are not to keep everybody else waiting. */
const MOST_FAILURES_OF_ALL = 20;
const WINDOW_MILLIS = 60_000;
/** Nobody meets so many beginnings of keys that exist; if they do, the oldest are forgotten. */
const MOST_REMEMBERED = 10_000;

interface Window {
  readonly endsAt: number;
  attempts: number;
}

/**
 * Bounds how often somebody may be wrong about keys that begin alike, and about all keys of one organization: a few
 * times in a minute, on each replica.
 * An attempt counts from when it begins, so that many at once get no further.
 */
export class AttemptThrottle {
  readonly #windows = new Map<string, Window>();
  readonly #now: () => number;

  /** @param now in milliseconds, of a clock that only goes forward. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * @returns what takes the attempt back, because it was right or never made.
   * @throws AuthError KEY_CHECK_BUSY
   */
  begin(beginnings: readonly string[], organizationIds: readonly string[] = []): () => void {
    const alike = [...new Set(beginnings)].map((beginning) => this.#windowOf(beginning));
    const all = [...new Set(organizationIds)].map((id) => this.#windowOf(`of ${id}`));
    const isOver =
      alike.some(({ attempts }) => attempts >= MOST_FAILURES) ||
      all.some(({ attempts }) => attempts >= MOST_FAILURES_OF_ALL);
    if (isOver) {
      throw new AuthError("KEY_CHECK_BUSY");
    }
    const windows = [...alike, ...all];
    for (const window of windows) {
      window.attempts++;
    }
    return () => {
      for (const window of windows) {
        window.attempts--;
      }
    };
  }

  #windowOf(beginning: string): Window {
    const known = this.#windows.get(beginning);
    if (known !== undefined && known.endsAt > this.#now()) {
      return known;
    }
    const window = { endsAt: this.#now() + WINDOW_MILLIS, attempts: 0 };
    this.#windows.delete(beginning);
    const [oldest] = this.#windows.keys();
    if (oldest !== undefined && this.#windows.size >= MOST_REMEMBERED) {
      this.#windows.delete(oldest);
    }
    this.#windows.set(beginning, window);
    return window;
  }
}
