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

/** Counts in memory, by secret and by day. */
export class UsageTally {
  readonly #most: number;
  #tallies = new Map<string, Tally>();

  /** @param most how many secrets and days it counts apart. */
  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#tallies.size;
  }

  /** @returns false where it was not counted: there is no more room for another secret. */
  add(
    secret: HeldSecret,
    use: { readonly isAllowed: boolean; readonly clientAddress: string },
    now: number,
  ): boolean {
    const date = dateOf(now);
    const name = nameOf(secret.keyId, secret.lookupId, date);
    let tally = this.#tallies.get(name);
    if (tally === undefined) {
      if (this.#tallies.size >= this.#most) {
        return false;
      }
      const { keyId, lookupId, displayPrefix } = secret;
      tally = {
        keyId,
        lookupId,
        displayPrefix,
        date,
        allowed: 0,
        refused: 0,
        lastUseMillis: now,
        lastUseAddress: "",
      };
      this.#tallies.set(name, tally);
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
    const taken = [...this.#tallies.values()];
    this.#tallies = new Map();
    return taken;
  }

  /** Puts back what could not be written down, beside what was counted meanwhile. */
  putBack(taken: readonly Tally[]): void {
    for (const before of taken) {
      const name = nameOf(before.keyId, before.lookupId, before.date);
      const since = this.#tallies.get(name);
      if (since === undefined) {
        this.#tallies.set(name, before);
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
}

function nameOf(keyId: string, lookupId: string, date: string): string {
  return `${date} ${keyId} ${lookupId}`;
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
