import pLimit from "p-limit";
import { AuthError } from "../../errors.ts";
import { matchesArgon2 } from "./argon2-hash.ts";
import { AttemptThrottle } from "./attempt-throttle.ts";
import { BcryptThread } from "./bcrypt-thread.ts";
import type { SaltedAlgorithm } from "./key-hash.ts";
import { matchesScrypt } from "./scrypt-hash.ts";

/** A salted hash that a text may be of. */
export interface SaltedCandidate {
  /** What the hash is known by. */
  readonly fingerprint: string;
  readonly algorithm: SaltedAlgorithm;
  readonly hash: string;
  readonly lookupPrefix: string;
  /** Whose key it is. */
  readonly organizationId: string;
}

/** Checks texts against salted hashes, beside the calls: a hash may take a second. */
export interface SaltedCheck {
  /**
   * Which of the hashes is of this text. One text is checked once, however many calls ask at the same time.
   *
   * @param textId stands for the text.
   * @throws AuthError KEY_CHECK_BUSY before any work is done.
   */
  find<Candidate extends SaltedCandidate>(
    text: string,
    textId: string,
    candidates: readonly Candidate[],
  ): Promise<Candidate | undefined>;
  end(): Promise<void>;
}

/** One at a time: passwords are hashed in a queue of their own, and have the other threads. */
const MOST_IN_FLIGHT = 1;
const MOST_WAITING = 16;

export function createSaltedCheck(): SaltedCheck {
  const bcrypt = new BcryptThread();
  const matchers: Record<SaltedAlgorithm, (text: string, hash: string) => Promise<boolean>> = {
    bcrypt: (text, hash) => bcrypt.matches(text, hash),
    scrypt: matchesScrypt,
    argon2: matchesArgon2,
  };
  const limit = pLimit(MOST_IN_FLIGHT);
  const throttle = new AttemptThrottle();
  const flights = new Map<string, Promise<number>>();

  async function findFirst(text: string, candidates: readonly SaltedCandidate[]): Promise<number> {
    for (const [at, { algorithm, hash }] of candidates.entries()) {
      if (await matchers[algorithm](text, hash)) {
        return at;
      }
    }
    return -1;
  }

  async function attempt(text: string, candidates: readonly SaltedCandidate[]): Promise<number> {
    const takeBack = throttle.begin(
      candidates.map(({ lookupPrefix }) => lookupPrefix),
      candidates.map(({ organizationId }) => organizationId),
    );
    let isWrong = false;
    try {
      if (limit.pendingCount >= MOST_WAITING) {
        throw new AuthError("KEY_CHECK_BUSY", {
          message: "Too many keys are being checked. Try again shortly.",
        });
      }
      const found = await limit(() => findFirst(text, candidates));
      isWrong = found === -1;
      return found;
    } finally {
      if (!isWrong) {
        takeBack();
      }
    }
  }

  return {
    async find(text, textId, candidates) {
      if (candidates.length === 0) {
        return undefined;
      }
      const flightId = [textId, ...candidates.map(({ fingerprint }) => fingerprint)].join(" ");
      let flight = flights.get(flightId);
      if (flight === undefined) {
        flight = attempt(text, candidates).finally(() => flights.delete(flightId));
        flights.set(flightId, flight);
      }
      return candidates[await flight];
    },
    end: () => bcrypt.end(),
  };
}
