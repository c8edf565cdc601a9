import { isDeepStrictEqual } from "node:util";
import type { Hearing } from "../changes/change-feed.ts";
import type { Tag } from "../changes/mutate.ts";
import { isTrusted } from "./freshness.ts";

/** When something was asked for. */
export interface Asked {
  readonly generation: number;
  readonly at: number;
}

/** One thing of the database that seldom changes, for as long as it is known not to have changed. */
export class Remembered<Value> {
  readonly #hearing: Hearing | undefined;
  #value: Value | undefined;
  #askedAt = -Infinity;
  /** When it has last changed. */
  #changed = 0;
  #isKnown = false;

  /** @param hearing undefined: nothing is remembered. */
  constructor(tag: Tag, hearing: Hearing | undefined) {
    this.#hearing = hearing;
    hearing?.onHeard((heard) => {
      if (heard === "everything" || heard.includes(tag)) {
        this.#isKnown = false;
        this.#changed = hearing.generation;
      }
    });
  }

  recall(): Value | undefined {
    const isGood = this.#isKnown && this.#hearing !== undefined && isTrusted(this.#hearing, this.#askedAt);
    return isGood ? this.#value : undefined;
  }

  /** To be called before the database is asked. */
  ask(): Asked {
    return { generation: this.#hearing?.generation ?? 0, at: performance.now() };
  }

  /** @returns the value: the very one that was there before, where they are equal. */
  keep(value: Value, { generation, at }: Asked): Value {
    const kept = isDeepStrictEqual(value, this.#value) ? (this.#value as Value) : value;
    if (this.#hearing !== undefined && this.#changed <= generation) {
      this.#value = kept;
      this.#askedAt = Math.max(this.#askedAt, at);
      this.#isKnown = true;
    }
    return kept;
  }
}
