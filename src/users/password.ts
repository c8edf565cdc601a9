import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import { hash as argon2Hash, verify as argon2Verify } from "@node-rs/argon2";
import pLimit from "p-limit";
import { AuthError } from "../errors.ts";
import { throwIfGivenUp } from "../storage/cancellation.ts";

/** OWASP Password Storage: argon2id with m=19456 KiB, t=2, p=1. */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };
const PHC = /^\$argon2id\$v=19\$m=(?<memory>\d+),t=(?<time>\d+),p=(?<lanes>\d+)\$/;
/** One core stays free for everything else, and half of Node's four threads for what else needs them. */
const MOST_IN_FLIGHT = Math.min(2, Math.max(1, availableParallelism() - 1));
/** About a second's work for one core: who would wait longer is told to come back. */
const MOST_WAITING = 64;

export type StoredHash = string | undefined;

/**
 * Hashes and checks passwords, in their NFKC form, on threads of their own. Bounded in flight and in its
 * queue: past that it rejects with PASSWORD_HASHING_BUSY before any work is done.
 */
export interface PasswordHasher {
  hash(password: string): Promise<string>;
  /**
   * @param stored a PHC string; undefined does the same work and is never right. As a function, it is called
   * once it is certain that the password will be checked.
   */
  verify(password: string, stored: StoredHash | (() => Promise<StoredHash>)): Promise<boolean>;
  /** Whether a stored hash is of another algorithm than today's, or one of its parameters is lower. */
  isOutdated(stored: string): boolean;
}

export async function createPasswordHasher(): Promise<PasswordHasher> {
  const limit = pLimit(MOST_IN_FLIGHT);
  const run = <Result>(work: () => Promise<Result>) => {
    if (limit.pendingCount >= MOST_WAITING) {
      throw new AuthError("PASSWORD_HASHING_BUSY");
    }
    return limit(() => {
      // Whoever asked may have gone while this waited.
      throwIfGivenUp();
      return work();
    });
  };
  // What nobody's password is compared with, where there is no user.
  const nobody = await argon2Hash(randomBytes(32), PARAMETERS);

  return {
    hash: async (password) => run(() => argon2Hash(password.normalize("NFKC"), PARAMETERS)),
    async verify(password, stored) {
      return await run(async () => {
        // Nobody waits for a place here who holds what this may need, such as a connection to the database.
        const hash = typeof stored === "function" ? await stored() : stored;
        const right = await argon2Verify(hash ?? nobody, password.normalize("NFKC"));
        return right && hash !== undefined;
      });
    },
    isOutdated(stored) {
      const { memory, time, lanes } = PHC.exec(stored)?.groups ?? {};
      return !(
        Number(memory) >= PARAMETERS.memoryCost &&
        Number(time) >= PARAMETERS.timeCost &&
        Number(lanes) >= PARAMETERS.parallelism
      );
    },
  };
}
