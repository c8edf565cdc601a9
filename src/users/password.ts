import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import { hash as argon2Hash, verify as argon2Verify } from "@node-rs/argon2";
import pLimit from "p-limit";
import { AuthError } from "../errors.ts";
import { throwIfGivenUp } from "../storage/cancellation.ts";
import { createMatchesImported, isImportedHash } from "./imported-password/imported-password.ts";

/** OWASP Password Storage: argon2id with m=19456 KiB, t=2, p=1. */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };
const PHC = /^\$argon2id\$v=19\$m=(?<memory>\d+),t=(?<time>\d+),p=(?<lanes>\d+)\$/;
/**
 * Half of Node's four threads stay free for what else needs them. To give those threads a lower priority made the
 * event loop wait for them ten times as long.
 */
const MOST_THREADS = 2;
/** About a second's work for one core: who would wait longer is told to come back. */
const MOST_WAITING = 64;

/**
 * What a password is compared with: a hash, or nothing. Nothing is never right, and does the work of a decoy: of
 * somebody's hash, or where there is none, of one that is nobody's.
 */
export type StoredHash = string | { readonly decoy: string | undefined } | undefined;

/**
 * Hashes and checks passwords, in their NFKC form, on threads of their own. Bounded in flight and in its
 * queue: past that it rejects with PASSWORD_HASHING_BUSY before any work is done.
 */
export interface PasswordHasher {
  hash(password: string): Promise<string>;
  /**
   * @param stored as a function, it is called once it is certain that the password will be checked.
   */
  verify(password: string, stored: StoredHash | (() => Promise<StoredHash>)): Promise<boolean>;
  /** Whether a stored hash is another system's or of another algorithm than today's, or a parameter is lower. */
  isOutdated(stored: string): boolean;
}

export interface PasswordHasherOptions {
  /** How many processes share the cores. */
  readonly workers?: number;
  /** How many cores there are. */
  readonly cores?: number;
}

/**
 * Hashes as many at once as leave one core free for everything else: by all the workers together, except that each
 * of them hashes one.
 */
export async function createPasswordHasher(options: PasswordHasherOptions = {}): Promise<PasswordHasher> {
  const { workers = 1, cores = availableParallelism() } = options;
  const limit = pLimit(Math.min(MOST_THREADS, Math.max(1, Math.floor((cores - 1) / workers))));
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
  const matchesImported = createMatchesImported();

  return {
    hash: async (password) => run(() => argon2Hash(password.normalize("NFKC"), PARAMETERS)),
    async verify(password, stored) {
      return await run(async () => {
        // Nobody waits for a place here who holds what this may need, such as a connection to the database.
        const found = typeof stored === "function" ? await stored() : stored;
        const isHash = typeof found === "string";
        const hash = isHash ? found : (found?.decoy ?? nobody);
        const right = isImportedHash(hash)
          ? await matchesImported(password, hash)
          : await argon2Verify(hash, password.normalize("NFKC"));
        return right && isHash;
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
