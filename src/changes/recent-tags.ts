/** How many of them are kept for whoever reads slowly. */
const MOST = 10_000;

/** The newest of what was heard, one copy for everybody who reads it at a pace of their own. */
export class RecentTags {
  #tags: string[] = [];
  /** Of the first one that is kept. */
  #first = 0;

  /** Where whoever reads from now on begins. */
  get end(): number {
    return this.#first + this.#tags.length;
  }

  add(tags: readonly string[]): void {
    if (tags.length > MOST) {
      this.skip();
      return;
    }
    for (const tag of tags) {
      this.#tags.push(tag);
    }
    // By halves, so that little is moved around.
    if (this.#tags.length > 2 * MOST) {
      this.#first += this.#tags.length - MOST;
      this.#tags = this.#tags.slice(-MOST);
    }
  }

  /** Whoever has not read up to here never will. */
  skip(): void {
    this.#first = this.end + 1;
    this.#tags = [];
  }

  /** What was added since; undefined: not all of that is kept. */
  since(position: number): string[] | undefined {
    const at = position - this.#first;
    return at < 0 || this.#tags.length - at > MOST ? undefined : [...new Set(this.#tags.slice(at))];
  }
}
