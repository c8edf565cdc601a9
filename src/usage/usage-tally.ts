import type { HeldSecret } from "../authenticate/trace.ts";

/** What one secret was used for on one day, since it was last written down. */
export interface Tally {
  readonly keyId: string;
  readonly lookupId: string;
  readonly displayPrefix: string;
  /** In UTC: `2026-01-31`. */
  readonly date: string;
  allowed: number;
  refused: number;
  /** In milliseconds since the epoch. */
  lastUseMillis: number;
  /** The client's. Empty: it was not told. */
  lastUseAddress: string;
}

/** Counts in memory, by secret and by day. Every call does, so it makes nothing for a secret that is known. */
export class UsageTally {
  readonly #most: number;
  /** By the lookup id: hardly ever more than one, of today. */
  #tallies = new Map<string, Tally[]>();
  #size = 0;

  /** @param most how many secrets and days it counts apart. */
  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#size;
  }

  /** @returns false where it was not counted: there is no more room for another secret. */
  add(
    secret: HeldSecret,
    use: { readonly isAllowed: boolean; readonly clientAddress: string },
    now: number,
  ): boolean {
    const { keyId, lookupId, displayPrefix } = secret;
    const date = dateOf(now);
    let tally = this.#find(keyId, lookupId, date);
    if (tally === undefined) {
      if (this.#size >= this.#most) {
        return false;
      }
      const counts = { allowed: 0, refused: 0, lastUseMillis: now, lastUseAddress: "" };
      tally = { keyId, lookupId, displayPrefix, date, ...counts };
      this.#insert(tally);
    }
    if (use.isAllowed) {
      tally.allowed++;
    } else {
      tally.refused++;
    }
    if (now >= tally.lastUseMillis) {
      tally.lastUseMillis = now;
      tally.lastUseAddress = use.clientAddress;
    }
    return true;
  }

  /** Takes out everything. */
  take(): Tally[] {
    const taken = [...this.#tallies.values()].flat();
    this.#tallies = new Map();
    this.#size = 0;
    return taken;
  }

  /** Puts back what could not be written down, beside what was counted meanwhile. */
  putBack(taken: readonly Tally[]): void {
    for (const before of taken) {
      const since = this.#find(before.keyId, before.lookupId, before.date);
      if (since === undefined) {
        this.#insert(before);
        continue;
      }
      since.allowed += before.allowed;
      since.refused += before.refused;
      if (before.lastUseMillis > since.lastUseMillis) {
        since.lastUseMillis = before.lastUseMillis;
        since.lastUseAddress = before.lastUseAddress;
      }
    }
  }

  #find(keyId: string, lookupId: string, date: string): Tally | undefined {
    const days = this.#tallies.get(lookupId);
    if (days === undefined) {
      return undefined;
    }
    for (const tally of days) {
      if (tally.date === date && tally.keyId === keyId) {
        return tally;
      }
    }
    return undefined;
  }

  #insert(tally: Tally): void {
    const days = this.#tallies.get(tally.lookupId);
    if (days === undefined) {
      this.#tallies.set(tally.lookupId, [tally]);
    } else {
      days.push(tally);
    }
    this.#size++;
  }
}

/** The day in UTC. Every call asks, so it is made once a day. */
const dateOf = (() => {
  const DAY_MILLIS = 86_400_000;
  let known = { day: Number.NaN, date: "" };
  return (millis: number): string => {
    const day = Math.floor(millis / DAY_MILLIS);
    if (day !== known.day) {
      known = { day, date: new Date(millis).toISOString().slice(0, "2026-01-31".length) };
    }
    return known.date;
  };
})();
