import type { Tag } from "./mutate.ts";

/** What has changed, or that it is not known what has. */
export type Heard = readonly Tag[] | "everything";

/** What a process has heard of changes. */
export interface Hearing {
  /** Grows with each change that is heard of, own or another's, and when everything is to be forgotten. */
  readonly generation: number;
  /** When the last poll that succeeded was sent, by performance.now(). -Infinity: none since the last break. */
  readonly provenAt: number;
  /** Up to where changes are taken into account. Empty: it is not known. */
  readonly revision: string;
  /** The database's time, in milliseconds since the epoch. Undefined: it was never told. */
  now(): number | undefined;
  /** Told of each change before anybody else can know that it was heard. */
  onHeard(listener: (heard: Heard) => void): void;
  /**
   * Waits until what a revision tells has been heard of.
   *
   * @throws AuthError REVISION_INVALID, REVISION_UNKNOWN, UNAVAILABLE
   */
  reach(revision: string): Promise<void>;
}
