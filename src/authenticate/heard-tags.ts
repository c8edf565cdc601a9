import type { Hearing } from "../changes/change-feed.ts";
import type { Tag } from "../changes/mutate.ts";

/** How many changes are remembered one by one for the sake of reads that are under way. */
const MOST_RECENT = 10_000;

/** A tag that something in memory carries. */
export interface HeldTag {
  readonly tag: Tag;
  /** The generation with which it last changed. */
  changed: number;
  holders: number;
}

/**
 * Which tags have changed since when: of those that something carries, for as long as it does; and of all others, for
 * as long as a read is under way that could have missed the change.
 */
export class HeardTags {
  readonly #held = new Map<Tag, HeldTag>();
  readonly #recent = new Map<Tag, number>();
  /** The generations at which the reads began that are under way, with how many of them. */
  readonly #reads = new Map<number, number>();
  /** Of reads that began before, it is not known what they have missed. */
  #unknownBefore = 0;

  /** @param onEverything told when everything is to be forgotten. */
  constructor(hearing: Hearing, onEverything: () => void) {
    hearing.onHeard((heard) => {
      const { generation } = hearing;
      if (heard === "everything") {
        this.#unknownBefore = generation;
        onEverything();
        return;
      }
      for (const tag of heard) {
        const held = this.#held.get(tag);
        if (held !== undefined) {
          held.changed = generation;
        }
        if (this.#reads.size > 0) {
          this.#recent.set(tag, generation);
        }
      }
      this.#bound(generation);
    });
  }

  /** A read begins. @param generation of this moment. */
  begin(generation: number): void {
    this.#reads.set(generation, (this.#reads.get(generation) ?? 0) + 1);
  }

  /** It is over. */
  end(generation: number): void {
    const others = (this.#reads.get(generation) ?? 0) - 1;
    if (others > 0) {
      this.#reads.set(generation, others);
    } else {
      this.#reads.delete(generation);
    }
    if (this.#reads.size === 0) {
      this.#recent.clear();
    }
  }

  /** Whether none of these changed since a read began that is not over yet. */
  areUnchangedSince(tags: readonly Tag[], generation: number): boolean {
    return generation >= this.#unknownBefore && tags.every((tag) => this.#changeOf(tag) <= generation);
  }

  hold(tags: readonly Tag[]): readonly HeldTag[] {
    return tags.map((tag) => {
      const held = this.#held.get(tag) ?? { tag, changed: 0, holders: 0 };
      this.#held.set(tag, held);
      held.holders += 1;
      return held;
    });
  }

  release(tags: readonly HeldTag[]): void {
    for (const held of tags) {
      held.holders -= 1;
      if (held.holders === 0) {
        this.#held.delete(held.tag);
      }
    }
  }

  #changeOf(tag: Tag): number {
    return Math.max(this.#recent.get(tag) ?? 0, this.#held.get(tag)?.changed ?? 0);
  }

  /** What no read could have missed need not be remembered. */
  #bound(generation: number): void {
    if (this.#recent.size <= MOST_RECENT) {
      return;
    }
    const oldest = Math.min(...this.#reads.keys());
    for (const [tag, changed] of this.#recent) {
      if (changed <= oldest) {
        this.#recent.delete(tag);
      }
    }
    if (this.#recent.size > MOST_RECENT) {
      this.#recent.clear();
      this.#unknownBefore = generation;
    }
  }
}
